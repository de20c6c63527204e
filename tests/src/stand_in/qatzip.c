// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

/*
 * A stand-in for libqatzip with a device, for tests on machines that have none.
 *
 * It has the functions and structures of qatzip.h that qatzip-sys uses, and behaves as a session with
 * a device does from outside: members of at most 64 KiB of content, no software unless the session
 * has it, checksums compared. Content is stored, not compressed.
 *
 * It is as nasty as the real one. A call that fails leaves requests with the device: a thread goes on to
 * write to the output, and whoever uses that memory again, in a call or by freeing it, ends the process. An
 * address that was pinned once counts as pinned for ever, so one that is freed and given to the device
 * later ends the process, too; and so does memory that the device never reached, such as a stack. All
 * sessions share one instance, which is set up anew when the next session is set up otherwise than the last:
 * a line "rebuild" in the file LOG.
 *
 * What goes wrong, and when, is compiled in:
 *
 *   NO_DEVICE    qzInit finds no device
 *   NO_INSTANCE  a device without an instance for compression
 *   LAYOUT       parameters that are 4 bytes longer
 *   ANSWERS      what the calls for packets answer, one code for each, 0 for success; then 0 for ever
 *   AFTER        after so many calls for packets ..
 *   THEN         .. what they answer from then on; SILENT: they never return
 *   SOFTWARE     the device leaves the work to software, without being asked
 *   NO_PINNED    there is no memory that the device reaches
 *   PINNED       so many pieces of it there are
 *   LOSES_KEYS   a release with calls that lose thread keys without a device
 */
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

enum { OK = 0, FAIL = -2, NO_ROOM = -3, DAMAGED = -4, NO_HW = 11, NOSW_NO_HW = -101, BUSY = -103 };
enum { UNSUPPORTED = -116, SILENT = 1000 };
enum { HEADER = 24, TRAILER = 8, CHUNK = 64 * 1024, STORED = 0xffff, PAGE = 4096 };
enum { BOTH = 2, MOST_PINNED = 4096, LATE_WRITES = 2000 };

typedef struct {
    long hw_session_stat;
    int thd_sess_stat;
    void *internal;
    unsigned long total_in, total_out;
} Session;

typedef struct {
    unsigned direction, level;
    unsigned char algorithm;
    unsigned max_forks;
    unsigned char sw_backup;
    unsigned hw_buff_sz, strm_buff_sz, input_sz_thrshold, req_cnt_thrshold, wait_cnt_thrshold;
    unsigned polling_mode, is_sensitive_mode;
#ifdef LAYOUT
    unsigned more;
#endif
    unsigned huffman_hdr, data_fmt;
} Params;

/* Behind Session.internal. */
typedef struct {
    pthread_t thread;
    Params params;
    /* The device is at work for it. */
    int is_left;
} Inside;

#ifdef NO_DEVICE
static const int device = 0;
#else
static const int device = 1;
#endif

/* What the next call for a packet answers. */
static int next_answer(void)
{
    static unsigned calls;
    unsigned call = __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    (void)call;
#ifdef ANSWERS
    static const int answers[] = {ANSWERS};
    if (call < sizeof answers / sizeof *answers)
        return answers[call];
#endif
#ifdef AFTER
    if (call >= AFTER)
        return THEN;
#endif
    return OK;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Every allocation that was ever pinned. The table forgets nothing. */
static struct {
    unsigned char *start;
    size_t len;
    /* It was freed. */
    int is_stale;
    /* A call has failed that wrote to it, or read it. */
    int is_written, is_read;
} pinned[MOST_PINNED];
static unsigned count;

/* The allocation that the address is in; -1 if none. */
static int find(const unsigned char *at)
{
    for (unsigned i = count; i--;) {
        if (at >= pinned[i].start && at < pinned[i].start + pinned[i].len)
            return (int)i;
    }
    return -1;
}

/* The device is given an address. */
static void reach(const unsigned char *at, int writes)
{
    pthread_mutex_lock(&lock);
    int i = find(at);
    if (i < 0)
        broken("memory that the device has never reached");
    if (pinned[i].is_stale)
        broken("an address that was pinned once, and is somebody else's now");
    if (pinned[i].is_written)
        broken("memory that the device still writes to");
    if (writes && pinned[i].is_read)
        broken("memory that the device still reads");
    pthread_mutex_unlock(&lock);
}

/* Somebody's output, as long as it is the device's. */
static void *write_late(void *memory)
{
    unsigned i = (unsigned)(uintptr_t)memory;
    for (int writes = 0; writes < LATE_WRITES; writes++) {
        memset(pinned[i].start, 0xa5, pinned[i].len);
        usleep(1000);
    }
    return NULL;
}

/* The call returns, and the device goes on. */
static void leave(const unsigned char *src, const unsigned char *dest)
{
    pthread_mutex_lock(&lock);
    int from = find(src), to = find(dest);
    if (from < 0 || to < 0)
        broken("memory that the device has never reached");
    pinned[from].is_read = 1;
    pinned[to].is_written = 1;
    pthread_t thread;
    if (pthread_create(&thread, NULL, write_late, (void *)(uintptr_t)to))
        abort();
    pthread_detach(thread);
    say("left at work");
    pthread_mutex_unlock(&lock);
}

static uint32_t crc_table[256];

__attribute__((constructor)) static void make_crc_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        crc_table[byte] = crc;
    }
}

static uint32_t crc32(const unsigned char *bytes, size_t len)
{
    uint32_t crc = ~0u;
    while (len--)
        crc = crc >> 8 ^ crc_table[(crc ^ *bytes++) & 0xff];
    return ~crc;
}

static void put(unsigned char *at, unsigned bytes, uint32_t value)
{
    for (; bytes; bytes--, value >>= 8)
        *at++ = (unsigned char)value;
}

static uint32_t get(const unsigned char *at, unsigned bytes)
{
    uint32_t value = 0;
    while (bytes--)
        value = value << 8 | at[bytes];
    return value;
}

int qzInit(Session *session, unsigned char sw_backup)
{
    (void)session;
    return device || sw_backup ? OK : NOSW_NO_HW;
}

int qzGetDefaultsDeflate(Params *params)
{
    memset(params, 0, sizeof *params);
    params->direction = 2;
    params->level = 1;
    params->algorithm = 8;
    params->sw_backup = 1;
    params->hw_buff_sz = params->strm_buff_sz = CHUNK;
    params->input_sz_thrshold = 1024;
    params->req_cnt_thrshold = 32;
    params->data_fmt = 2;
    return OK;
}

int qzSetupSessionDeflate(Session *session, Params *params)
{
    if (session->internal)
        return 1;
    if (params->level < 1 || params->level > 9 || params->data_fmt != 2 || params->direction != BOTH)
        return -1;
    session->hw_session_stat = device ? OK : params->sw_backup ? NO_HW : NOSW_NO_HW;
    if (session->hw_session_stat < 0)
        return NOSW_NO_HW;
    Inside *inside = calloc(1, sizeof *inside);
    inside->thread = pthread_self();
    inside->params = *params;
    session->internal = inside;
    return OK;
}

int qzTeardownSession(Session *session)
{
    Inside *inside = session->internal;
    if (inside && inside->is_left)
        broken("a session is torn down for which the device is at work");
    free(inside);
    session->internal = NULL;
    return OK;
}

int qzClose(Session *session)
{
    return session->internal ? FAIL : OK;
}

/* The instance is as the session has it. */
static void set_up_instance(const Params *params)
{
    static Params last;
    static int is_set_up;

    pthread_mutex_lock(&lock);
    if (is_set_up && (last.direction != params->direction || last.level != params->level
                      || last.huffman_hdr != params->huffman_hdr))
        say("rebuild");
    is_set_up = 1;
    last = *params;
    pthread_mutex_unlock(&lock);
}

/* Whether the session may be used, with as many bytes of content: a code. */
static int usable(Session *session, const unsigned char *src, const unsigned char *dest,
                  unsigned content)
{
    Inside *inside = session->internal;
    if (!inside || !pthread_equal(inside->thread, pthread_self()))
        broken("a session of another thread");
    if (inside->params.sw_backup)
        return OK;
    reach(src, 0);
    reach(dest, 1);
#ifdef NO_INSTANCE
    return BUSY;
#endif
    set_up_instance(&inside->params);
    int answer = content > PAGE ? next_answer() : OK;
    while (answer == SILENT)
        pause();
    return answer;
}

/* A session with a device fails: these answers come before a request is made, all others after some. */
static int failed(Session *session, const unsigned char *src, const unsigned char *dest, int code)
{
    Inside *inside = session->internal;
    if (!inside->params.sw_backup && code != BUSY && code != UNSUPPORTED && code > -101) {
        inside->is_left = 1;
        leave(src, dest);
    }
    return code;
}

/* Writes a member, and answers its length; 0 if there is no room. */
static size_t member(const unsigned char *content, size_t len, unsigned char effort,
                     unsigned char *out, size_t room)
{
    static const unsigned char header[16] = {0x1f, 0x8b, 8, 4, 0, 0, 0,   0,
                                             0,    255,  12, 0, 'Q', 'Z', 8, 0};
    size_t blocks = (len + STORED - 1) / STORED, deflate = len + 5 * blocks;
    if (HEADER + deflate + TRAILER > room)
        return 0;
    memcpy(out, header, sizeof header);
    out[8] = effort;
    put(out + 16, 4, (uint32_t)len);
    put(out + 20, 4, (uint32_t)deflate);
    unsigned char *at = out + HEADER;
    for (size_t done = 0; done < len;) {
        size_t block = len - done < STORED ? len - done : STORED;
        at[0] = done + block == len;
        put(at + 1, 2, (uint32_t)block);
        put(at + 3, 2, ~(uint32_t)block);
        memcpy(at + 5, content + done, block);
        at += 5 + block;
        done += block;
    }
    put(at, 4, crc32(content, len));
    put(at + 4, 4, (uint32_t)len);
    return HEADER + deflate + TRAILER;
}

int qzCompress(Session *session, const unsigned char *src, unsigned *src_len, unsigned char *dest,
               unsigned *dest_len, unsigned last)
{
    unsigned len = *src_len, room = *dest_len, done = 0, written = 0;
    *src_len = *dest_len = 0;
    int code = last == 1 ? usable(session, src, dest, len) : -1;
    if (code != OK)
        return failed(session, src, dest, code);
    Inside *inside = session->internal;
    int software = inside->params.sw_backup;
#ifdef SOFTWARE
    software = 1;
#endif
    unsigned most = software ? len : CHUNK;
    while (done < len) {
        unsigned chunk = len - done < most ? len - done : most;
        size_t wrote = member(src + done, chunk, software ? 4 : 0, dest + written, room - written);
        if (!wrote)
            return failed(session, src, dest, NO_ROOM);
        written += (unsigned)wrote;
        done += chunk;
    }
    *src_len = done;
    *dest_len = written;
    return OK;
}

/* Reads stored blocks of exactly these lengths. */
static int stored(const unsigned char *at, size_t deflate, unsigned char *out, size_t content)
{
    int last = 0;
    while (!last) {
        if (deflate < 5 || at[0] > 1)
            return FAIL;
        last = at[0];
        size_t block = get(at + 1, 2);
        if ((get(at + 3, 2) ^ block) != 0xffff || block > deflate - 5 || block > content)
            return FAIL;
        memcpy(out, at + 5, block);
        at += 5 + block;
        out += block;
        deflate -= 5 + block;
        content -= block;
    }
    return deflate || content ? FAIL : OK;
}

/* One page of zeros, as it comes when a session is new: the only compressed data that is known. */
static int zeros(const unsigned char *at, size_t deflate, unsigned char *out, size_t content)
{
    if (deflate != 20 || content != PAGE || at[0] != 0xed)
        return FAIL;
    memset(out, 0, content);
    return OK;
}

/* Damaged data fail without a reason, a wrong checksum with one. */
int qzDecompress(Session *session, const unsigned char *src, unsigned *src_len, unsigned char *dest,
                 unsigned *dest_len)
{
    unsigned len = *src_len, room = *dest_len, done = 0, written = 0;
    *src_len = *dest_len = 0;
    int code = usable(session, src, dest, room);
    while (code == OK && done < len && written < room) {
        const unsigned char *at = src + done;
        unsigned left = len - done;
        uint32_t content = left < HEADER ? 0 : get(at + 16, 4);
        uint32_t deflate = left < HEADER ? 0 : get(at + 20, 4);
        if (left < HEADER + TRAILER || deflate > left - HEADER - TRAILER
            || content > room - written) {
            code = DAMAGED;
            break;
        }
        code = stored(at + HEADER, deflate, dest + written, content);
        if (code != OK)
            code = zeros(at + HEADER, deflate, dest + written, content);
        const unsigned char *trailer = at + HEADER + deflate;
        if (code == OK && get(trailer, 4) != crc32(dest + written, content))
            code = DAMAGED;
        done += HEADER + deflate + TRAILER;
        written += content;
    }
    if (code != OK)
        return failed(session, src, dest, code);
    *src_len = done;
    *dest_len = written;
    return OK;
}

void *qzMalloc(size_t len, int node, int is_pinned)
{
    (void)node;
#ifdef NO_PINNED
    if (is_pinned)
        return NULL;
#endif
    if (!is_pinned)
        return malloc(len);
    len = (len + PAGE - 1) / PAGE * PAGE;
    void *start = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    pthread_mutex_lock(&lock);
#ifdef PINNED
    if (count == PINNED) {
        pthread_mutex_unlock(&lock);
        munmap(start, len);
        return NULL;
    }
#endif
    if (count == MOST_PINNED)
        broken("more memory than there is");
    pinned[count].start = start;
    pinned[count].len = len;
    count++;
    pthread_mutex_unlock(&lock);
    say("pinned %zu", len);
    return start;
}

void qzFree(void *memory)
{
    pthread_mutex_lock(&lock);
    int i = find(memory);
    if (i >= 0) {
        if (pinned[i].is_written || pinned[i].is_read)
            broken("freed what the device still works with");
        pinned[i].is_stale = 1;
        munmap(pinned[i].start, pinned[i].len);
        say("freed %zu", pinned[i].len);
    }
    pthread_mutex_unlock(&lock);
    if (i < 0)
        free(memory);
}

#ifdef LOSES_KEYS
int qzCompress2(void)
{
    return -1;
}
#endif
