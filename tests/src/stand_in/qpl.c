// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

/*
 * A stand-in for libqpl with a device, for tests on machines that have none.
 *
 * It has the functions and the structure of the public headers that multifd-qpl uses, typed from their facts,
 * and none of their code. A job that is submitted is done by a thread, later, as a device does; until then
 * the memory belongs to the device, and a job that is finished or submitted again meanwhile ends the
 * process.
 *
 * Chosen when it is compiled:
 *   NO_DEVICE   jobs of the hardware path cannot be made
 *   JOBS        so many of them there can be at a time
 *   DEPTH       places in the work queue
 *   ELSEWHERE   this thread's node has no work queue; others have
 *   AFTER       after so many jobs ..
 *   THEN        .. the status of those that follow; SILENT: they are never done, and their output is
 *               written to all the while
 */
#include <pthread.h>
#include <unistd.h>

#include "deflate.h"
#include "log.h"

#ifndef DEPTH
#define DEPTH 32
#endif

enum { OK = 0, BEING_PROCESSED = 1, MORE_OUTPUT = 2, BUSY = 5, BAD_STREAM = 211 };
enum { NO_MEMORY = 7, NO_PATH = 500, NO_QUEUES = 503, SILENT = 1000 };
enum { HARDWARE = 1, COMPRESS = 1, ANY_NODE = -3, MOST_AT_WORK = 1024, LATE_WRITES = 2000 };

typedef struct {
    uint8_t *next_in;
    uint32_t available_in, total_in;
    uint8_t *next_out;
    uint32_t available_out, total_out;
    uint32_t operation, flags, crc, xor_checksum, last_bit_offset, level, statistics_mode;
    void *huffman_table, *dictionary;
    uint32_t mini_block_size;
    uint64_t *index_array;
    uint32_t index_max_size, index_written;
    uint8_t end_processing, ignore_start_bits, ignore_end_bits;
    uint64_t crc64_polynomial, crc64;
    const uint8_t *next_source2;
    uint32_t others[13];
    int32_t numa_id;
    /* The library's own: the status of a job that is done, or BEING_PROCESSED. */
    uint64_t status;
    uint64_t path;
    void *more[4];
} Job;

_Static_assert(sizeof(Job) == 240, "the structure of the headers");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t added = PTHREAD_COND_INITIALIZER;
static Job *queue[MOST_AT_WORK];
static unsigned first, last, at_work;
/* Of the hardware path, that were made and not finished. */
static unsigned jobs_made;

const char *qpl_get_library_version(void)
{
    return "1.9.0";
}

uint32_t qpl_get_job_size(uint32_t path, uint32_t *size)
{
    (void)path;
    *size = sizeof(Job) + 100;
    return OK;
}

uint32_t qpl_init_job(uint32_t path, Job *job)
{
#ifdef NO_DEVICE
    if (path == HARDWARE)
        return NO_PATH;
#endif
    unsigned made = path == HARDWARE ? __atomic_add_fetch(&jobs_made, 1, __ATOMIC_RELAXED) : 0;
    (void)made;
#ifdef JOBS
    if (made > JOBS) {
        __atomic_sub_fetch(&jobs_made, 1, __ATOMIC_RELAXED);
        return NO_MEMORY;
    }
#endif
    job->path = path;
    return OK;
}

static uint32_t work(Job *job)
{
    int64_t made;

    if (job->operation == COMPRESS) {
        struct bits out = {.bytes = job->next_out, .length = job->available_out};
        deflate(&out, job->next_in, job->available_in);
        made = out.overrun ? NO_PLACE : (int64_t)out.at;
    } else {
        made = inflate(job->next_in, job->available_in, job->next_out, job->available_out);
    }
    if (made < 0)
        return made == NO_PLACE ? MORE_OUTPUT : BAD_STREAM;
    job->total_out = (uint32_t)made;
    return OK;
}

/* A device that does nothing that is asked of it, and something else. */
static void *write_late(void *argument)
{
    Job *job = argument;

    for (int writes = 0; writes < LATE_WRITES; writes++) {
        memset(job->next_out, 0xa5, job->available_out);
        usleep(1000);
    }
    return NULL;
}

static uint32_t answer(Job *job)
{
    static unsigned jobs;
    unsigned number = jobs++;

    (void)number;
    (void)job;
#ifdef AFTER
    if (number >= AFTER) {
        pthread_t thread;
        if (THEN == SILENT && !pthread_create(&thread, NULL, write_late, job))
            pthread_detach(thread);
        return THEN;
    }
#else
    (void)write_late;
#endif
    return OK;
}

static void *device(void *argument)
{
    (void)argument;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (first == last)
            pthread_cond_wait(&added, &lock);
        Job *job = queue[first++ % MOST_AT_WORK];
        uint32_t status = answer(job);
        pthread_mutex_unlock(&lock);
        if (status == SILENT)
            continue;
        if (status == OK)
            status = work(job);
        pthread_mutex_lock(&lock);
        at_work--;
        pthread_mutex_unlock(&lock);
        __atomic_store_n(&job->status, status, __ATOMIC_RELEASE);
    }
    return NULL;
}

__attribute__((constructor)) static void start(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, device, NULL))
        abort();
    pthread_detach(thread);
}

uint32_t qpl_execute_job(Job *job)
{
    return work(job);
}

uint32_t qpl_submit_job(Job *job)
{
    uint32_t status = OK;

    pthread_mutex_lock(&lock);
    if (__atomic_load_n(&job->status, __ATOMIC_ACQUIRE) == BEING_PROCESSED)
        broken("submitted while the device is at work");
    if (job->path != HARDWARE || job->level != 1)
        broken("another kind of job");
#ifdef ELSEWHERE
    if (job->numa_id != ANY_NODE)
        status = NO_QUEUES;
#endif
    if (status == OK && at_work >= DEPTH)
        status = BUSY;
    if (status == OK) {
        __atomic_store_n(&job->status, BEING_PROCESSED, __ATOMIC_RELEASE);
        at_work++;
        queue[last++ % MOST_AT_WORK] = job;
        pthread_cond_signal(&added);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

uint32_t qpl_check_job(Job *job)
{
    return (uint32_t)__atomic_load_n(&job->status, __ATOMIC_ACQUIRE);
}

uint32_t qpl_fini_job(Job *job)
{
    if (__atomic_load_n(&job->status, __ATOMIC_ACQUIRE) == BEING_PROCESSED)
        broken("finished while the device is at work");
    if (job->path == HARDWARE)
        __atomic_sub_fetch(&jobs_made, 1, __ATOMIC_RELAXED);
    return OK;
}
