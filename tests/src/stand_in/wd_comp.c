// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

/*
 * A stand-in for UADK's libwd_comp with a device, for tests on machines that have none.
 *
 * It has the functions and structures that multifd-uadk uses. It ends the process when it is opened,
 * used or closed in another way than it has to be, and fails in every way that there is an answer to.
 *
 * A request that is queued is done by a thread, later, as a device does, and told to whoever polls. Until then its memory
 * is the device's: a request with memory that another one has, and a session that is freed, end the process.
 * So do two threads that poll at a time.
 *
 * Declarations are typed from the facts of UADK's public headers wd_comp.h, wd_alg_common.h and
 * wd_sched.h, version 2.11; none of UADK's code is here.
 *
 * The device compresses with fixed Huffman codes and matches of distance 1. It decompresses stored
 * blocks and those with fixed codes; blocks with codes of their own it refuses. It passes over a zlib
 * header and does not look at the checksum. Each event is a line in the file LOG.
 *
 * Chosen when it is compiled:
 *   INIT_RESULT     what opening it answers
 *   MOST_SESSIONS   how many there can be at a time
 *   NO_QUEUES       requests cannot be queued, only waited for
 *   DEPTH           how many requests can be queued at a time
 *   ENGINES         how many requests the device does at a time
 *   NANOSECONDS     how long it takes for one
 *   GOOD_REQUESTS   how many requests are done before what follows
 *   RESULT          what a request answers from then on
 *   STATUS          what the device says of it from then on
 *   SILENT          it says nothing of it, and writes to its target all the while, until there is a file LOG.go
 *   POLL_RESULT     what whoever polls is answered from then on
 *   CORRUPT         the first byte of a result is changed from then on
 *   LIE             a result is said to be longer than its room from then on
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "deflate.h"
#include "log.h"

#ifndef INIT_RESULT
#define INIT_RESULT 0
#endif
#ifndef MOST_SESSIONS
#define MOST_SESSIONS 64
#endif
#ifndef GOOD_REQUESTS
#define GOOD_REQUESTS 1000000000
#endif
#ifndef NO_QUEUES
#define NO_QUEUES 0
#endif
#ifndef DEPTH
#define DEPTH 256
#endif
#ifndef ENGINES
#define ENGINES 2
#endif
#ifndef NANOSECONDS
#define NANOSECONDS 0
#endif
#ifndef RESULT
#define RESULT 0
#endif
#ifndef STATUS
#define STATUS 0
#endif
#ifndef SILENT
#define SILENT 0
#endif
#ifndef POLL_RESULT
#define POLL_RESULT 0
#endif
#ifndef CORRUPT
#define CORRUPT 0
#endif
#ifndef LIE
#define LIE 0
#endif

typedef uintptr_t handle_t;

struct wd_mm_ops {
    void *alloc, *free, *iova_map, *iova_unmap, *get_bufsize, *usr;
    bool sva_mode;
};

struct sched_params {
    int numa_id;
    uint8_t type;
    uint8_t mode;
    uint32_t begin;
    uint32_t end;
    uint32_t dev_id;
    int ctx_prop;
};

struct wd_comp_sess_setup {
    int alg_type;
    int comp_lv;
    int win_sz;
    int op_type;
    struct sched_params *sched_param;
    struct wd_mm_ops mm_ops;
    int mm_type;
};

struct wd_comp_req {
    void *src;
    uint32_t src_len;
    void *dst;
    uint32_t dst_len;
    void *cb;
    void *cb_param;
    int op_type;
    int data_fmt;
    uint32_t last;
    uint32_t status;
    void *priv;
};

enum { WD_ZLIB = 1, WD_EBUSY = 16, WD_EEXIST = 17, WD_EINVAL = 22, WD_OUT_EPARA = 66, WD_IN_EPARA = 67 };
enum { MOST_QUEUED = 256, LATE_WRITES = 2000 };

typedef void *callback(struct wd_comp_req *request, void *argument);

/* TOLD is the last moment of a request: its callback is called, and its memory is not the device's any more. */
enum stage { FREE, TOLD, QUEUED, AT_WORK, DONE };

/* A request that was queued, with the library's own copy of it. */

struct queued {
    enum stage stage;
    unsigned long order;
    handle_t session;
    struct wd_comp_req request;
    /* Bytes of its target, whatever the device says. */
    uint32_t room;
    bool good, is_late;
};


int wd_is_sva(unsigned long context);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_open;
static long requests;
/* The operation of each session that there is; -1 for none. */
static int sessions[MOST_SESSIONS];
static int live;
static struct queued queue[MOST_QUEUED];
static unsigned long order;
static pthread_cond_t added = PTHREAD_COND_INITIALIZER;

int wd_comp_init2_(char *alg, uint32_t sched_type, int task_type, void *ctx_params)
{
    int result = INIT_RESULT;

    pthread_mutex_lock(&lock);
    if (!wd_is_sva(0))
        broken("libwd.so.2 is another one");
    if (is_open)
        result = -WD_EEXIST;
    say("init %s scheduler %u task %d%s: %d", alg, sched_type, task_type,
        ctx_params ? " with parameters" : "", result);
    if (!result) {
        is_open = true;
        for (int i = 0; i < MOST_SESSIONS; i++)
            sessions[i] = -1;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

void wd_comp_uninit2(void)
{
    pthread_mutex_lock(&lock);
    if (!is_open)
        broken("closed, but not open");
    if (live)
        broken("closed with sessions");
    is_open = false;
    say("uninit");
    pthread_mutex_unlock(&lock);
}

handle_t wd_comp_alloc_sess(struct wd_comp_sess_setup *setup)
{
    struct wd_mm_ops none = {0};
    handle_t session = 0;

    pthread_mutex_lock(&lock);
    if (!is_open)
        broken("a session while it is closed");
    if (setup->alg_type != WD_ZLIB || setup->sched_param->type != setup->op_type)
        broken("another kind of session");
    if (memcmp(&setup->mm_ops, &none, sizeof(none)) || setup->mm_type
        || setup->sched_param->dev_id || setup->sched_param->ctx_prop)
        broken("later fields are not zero");
    /* From 2.10 on the library fills these in. */
    memset(&setup->mm_ops, 0xff, sizeof(none));
    for (int i = 0; i < MOST_SESSIONS && !session; i++) {
        if (sessions[i] < 0) {
            sessions[i] = setup->op_type;
            session = i + 1;
            live++;
        }
    }
    say("alloc %s level %d window %d numa %d mode %d: %d", setup->op_type ? "decompress" : "compress",
        setup->comp_lv, setup->win_sz, setup->sched_param->numa_id, setup->sched_param->mode,
        (int)session);
    pthread_mutex_unlock(&lock);
    return session;
}

void wd_comp_free_sess(handle_t session)
{
    pthread_mutex_lock(&lock);
    if (!is_open || !session || session > MOST_SESSIONS || sessions[session - 1] < 0)
        broken("freed what is no session");
    for (int i = 0; i < MOST_QUEUED; i++) {
        if (queue[i].stage > TOLD && queue[i].session == session)
            broken("freed a session that the device works for");
    }
    sessions[session - 1] = -1;
    live--;
    say("free %d", (int)session);
    pthread_mutex_unlock(&lock);
}

static uint32_t adler32(const uint8_t *bytes, uint32_t length)
{
    uint32_t a = 1, b = 0;

    for (uint32_t i = 0; i < length; i++) {
        a = (a + bytes[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

/* Answers the length; 0 if there is no room. */
static uint32_t compress(const uint8_t *from, uint32_t length, uint8_t *to, uint32_t room)
{
    struct bits out = {.bytes = to, .length = room};
    uint32_t sum = adler32(from, length);

    put(&out, 0x78, 8);
    put(&out, 0x9c, 8);
    deflate(&out, from, length);
    for (int shift = 24; shift >= 0; shift -= 8)
        put(&out, sum >> shift & 0xff, 8);
    return out.overrun ? 0 : out.at;
}

/* Answers the length; -WD_IN_EPARA for what the device does not take, -WD_OUT_EPARA without room. */
static int64_t decompress(const uint8_t *from, uint32_t length, uint8_t *to, uint32_t room)
{
    int64_t made = length < 2 ? BAD_INPUT : inflate(from + 2, length - 2, to, room);

    return made == BAD_INPUT ? -WD_IN_EPARA : made == NO_PLACE ? -WD_OUT_EPARA : made;
}

/* Answers whether it goes well. */
static bool check(handle_t session, struct wd_comp_req *request, bool is_queued)
{
    if (!is_open || !session || session > MOST_SESSIONS
        || sessions[session - 1] != request->op_type)
        broken("a request of no session");
    if (!request->src || !request->src_len || !request->dst || !request->dst_len || request->data_fmt
        || !request->cb == is_queued || !request->cb_param == is_queued)
        broken("another kind of request");
    return requests++ < GOOD_REQUESTS;
}

static void work(struct wd_comp_req *request, bool good)
{
    struct timespec pause = {.tv_nsec = NANOSECONDS};

    if (NANOSECONDS)
        nanosleep(&pause, NULL);
    if (!good && STATUS) {
        request->status = STATUS;
        return;
    }
    if (request->op_type) {
        int64_t made = decompress(request->src, request->src_len, request->dst, request->dst_len);
        request->status = made < 0 ? -made : 0;
        request->dst_len = made < 0 ? 0 : made;
    } else {
        request->dst_len = compress(request->src, request->src_len, request->dst, request->dst_len);
        request->status = request->dst_len ? 0 : WD_OUT_EPARA;
    }
    if (!good && CORRUPT)
        *(uint8_t *)request->dst ^= 1;
    if (!good && LIE)
        request->dst_len = UINT32_MAX;
}

int wd_do_comp_sync(handle_t session, struct wd_comp_req *request)
{
    bool good;

    pthread_mutex_lock(&lock);
    good = check(session, request, false);
    pthread_mutex_unlock(&lock);
    if (!good && RESULT)
        return RESULT;
    work(request, good);
    return 0;
}

/* A device that does nothing that is asked of it, and something else. */
static void *write_late(void *argument)
{
    struct queued *mine = argument;

    for (int writes = 0; writes < LATE_WRITES; writes++) {
        memset(mine->request.dst, 0xa5, mine->request.dst_len);
        usleep(1000);
        if (access(LOG ".go", F_OK))
            continue;
        work(&mine->request, true);
        pthread_mutex_lock(&lock);
        mine->stage = DONE;
        mine->is_late = true;
        pthread_mutex_unlock(&lock);
        break;
    }
    return NULL;
}

/* The oldest request that nobody works at. */
static struct queued *next(void)
{
    struct queued *oldest = NULL;

    for (int i = 0; i < MOST_QUEUED; i++) {
        if (queue[i].stage == QUEUED && (!oldest || queue[i].order < oldest->order))
            oldest = queue + i;
    }
    return oldest;
}

static void *engine(void *argument)
{
    struct queued *mine;
    pthread_t thread;

    (void)argument;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!(mine = next()))
            pthread_cond_wait(&added, &lock);
        mine->stage = AT_WORK;
        if (!mine->good && SILENT) {
            if (!pthread_create(&thread, NULL, write_late, mine))
                pthread_detach(thread);
            continue;
        }
        pthread_mutex_unlock(&lock);
        work(&mine->request, mine->good);
        pthread_mutex_lock(&lock);
        mine->stage = DONE;
    }
    return NULL;
}

__attribute__((constructor)) static void start(void)
{
    pthread_t thread;

    for (int i = 0; i < ENGINES; i++) {
        if (pthread_create(&thread, NULL, engine, NULL))
            abort();
        pthread_detach(thread);
    }
}

static bool overlap(const void *one, uint32_t length, const void *other, uint32_t other_length)
{
    return (uintptr_t)one < (uintptr_t)other + other_length
           && (uintptr_t)other < (uintptr_t)one + length;
}

int wd_do_comp_async(handle_t session, struct wd_comp_req *request)
{
    static int most = 1;
    struct queued *place = NULL;
    int at_work = 0, result = 0;
    bool good;

    pthread_mutex_lock(&lock);
    if (NO_QUEUES) {
        pthread_mutex_unlock(&lock);
        return -WD_EINVAL;
    }
    good = check(session, request, true);
    for (int i = 0; i < MOST_QUEUED; i++) {
        struct wd_comp_req *other = &queue[i].request;
        if (queue[i].stage <= TOLD) {
            if (queue[i].stage == FREE)
                place = queue + i;
            continue;
        }
        at_work++;
        if (overlap(request->dst, request->dst_len, other->src, other->src_len)
            || overlap(request->dst, request->dst_len, other->dst, queue[i].room)
            || overlap(request->src, request->src_len, other->dst, queue[i].room)
            || request->cb_param == other->cb_param)
            broken("memory that the device works with");
    }
    if (!good && RESULT)
        result = RESULT;
    else if (at_work >= DEPTH || !place)
        result = -WD_EBUSY;
    if (!result) {
        *place = (struct queued){QUEUED, order++, session, *request, request->dst_len, good, false};
        pthread_cond_signal(&added);
        if (at_work + 1 > most)
            say("at work: %d", most = at_work + 1);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int wd_comp_poll(uint32_t most, uint32_t *count)
{
    static bool polling;
    int result = 0;

    if (__atomic_exchange_n(&polling, true, __ATOMIC_ACQUIRE))
        broken("two threads poll");
    *count = 0;
    pthread_mutex_lock(&lock);
    if (!is_open)
        broken("polled while it is closed");
    if (POLL_RESULT && requests > GOOD_REQUESTS)
        result = POLL_RESULT;
    for (int i = 0; i < MOST_QUEUED && *count < most && !result; i++) {
        struct wd_comp_req *request = &queue[i].request;
        if (queue[i].stage != DONE)
            continue;
        queue[i].stage = TOLD;
        pthread_mutex_unlock(&lock);
        ((callback *)request->cb)(request, request->cb_param);
        pthread_mutex_lock(&lock);
        if (queue[i].is_late)
            say("told late");
        queue[i].stage = FREE;
        ++*count;
    }
    pthread_mutex_unlock(&lock);
    __atomic_store_n(&polling, false, __ATOMIC_RELEASE);
    return result;
}
