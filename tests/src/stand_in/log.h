// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

/* What a stand-in tells its test: a line in the file LOG for each event, and the end of the process when the
 * caller breaks a rule of the interface. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void say(const char *format, ...)
{
    FILE *log = fopen(LOG, "a");
    va_list arguments;

    if (!log)
        abort();
    va_start(arguments, format);
    vfprintf(log, format, arguments);
    va_end(arguments);
    fputc('\n', log);
    fclose(log);
}

/* The caller broke a rule of the interface: its test ends here. */
static void broken(const char *rule)
{
    say("BROKEN: %s", rule);
    fprintf(stderr, "BROKEN: %s\n", rule);
    abort();
}
