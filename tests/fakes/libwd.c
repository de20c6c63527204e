/* In the place of UADK's libwd.so.2: what libwd_comp.c needs to be found beside it. */

int wd_is_sva(unsigned long context)
{
    (void)context;
    return 1;
}
