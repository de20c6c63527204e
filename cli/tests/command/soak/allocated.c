// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

/* Stands before malloc (LD_PRELOAD), and counts how many bytes are allocated, in a file that the variable ALLOCATED names
 * and that others may read at any time. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

/* Until the file is there. */
static _Atomic long at_first;
static _Atomic long *allocated = &at_first;

__attribute__((constructor)) static void open_file(void)
{
    const char *path = getenv("ALLOCATED");
    int file = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (file < 0 || ftruncate(file, sizeof(*allocated)) != 0)
        abort();
    void *shared = mmap(NULL, sizeof(*allocated), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED)
        abort();
    close(file);
    allocated = shared;
    atomic_fetch_add(allocated, atomic_load(&at_first));
}

static long size_of(void *memory)
{
    return memory ? (long)malloc_usable_size(memory) : 0;
}

static void *counted(void *memory)
{
    atomic_fetch_add(allocated, size_of(memory));
    return memory;
}

void *malloc(size_t size)
{
    return counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return counted(__libc_calloc(count, size));
}

void *realloc(void *memory, size_t size)
{
    long before = size_of(memory);
    void *moved = __libc_realloc(memory, size);
    /* Where there was no room it is what it was. */
    if (moved || size == 0)
        atomic_fetch_sub(allocated, before);
    return counted(moved);
}

void *memalign(size_t alignment, size_t size)
{
    return counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *got = memalign(alignment, size);
    if (!got)
        return ENOMEM;
    *memory = got;
    return 0;
}

void free(void *memory)
{
    atomic_fetch_sub(allocated, size_of(memory));
    __libc_free(memory);
}
