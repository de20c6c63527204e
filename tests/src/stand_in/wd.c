// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

/* A stand-in for UADK's libwd: what wd_comp.c needs to be found beside it. */

int wd_is_sva(unsigned long context)
{
    (void)context;
    return 1;
}
