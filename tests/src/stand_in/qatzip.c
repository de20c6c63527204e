/*
 * A stand-in for libqatzip with a device, for tests on machines that have none.
 *
 * It has the functions and structures of qatzip.h that qatzip-sys uses, and behaves as a session with
 * a device does from outside: members of at most 64 KiB of content, no software unless the session
 * has it, checksums compared. Content is stored, not compressed. What goes wrong, and when, is
 * compiled in:
 *
 *   NO_DEVICE   qzInit finds no device
 *   NO_INSTANCE a device without an instance for compression
 *   LAYOUT      parameters that are 4 bytes longer
 *   ANSWERS     what the calls for packets answer, one code for each, 0 for success; then 0 for ever
 *   SOFTWARE    the device leaves the work to software, without being asked
 *   NO_PINNED   there is no memory that the device reaches
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, FAIL = -2, NO_ROOM = -3, DAMAGED = -4, NO_HW = 11, NOSW_NO_HW = -101, BUSY = -103 };
enum { HEADER = 24, TRAILER = 8, CHUNK = 64 * 1024, STORED = 0xffff, PAGE = 4096 };

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
} Inside;

#ifdef NO_DEVICE
static const int device = 0;
#else
static const int device = 1;
#endif

/* What the next call for a packet answers. */
static int next_answer(void)
{
#ifdef ANSWERS
    static const int answers[] = {ANSWERS};
    static unsigned calls;
    unsigned call = __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    return call < sizeof answers / sizeof *answers ? answers[call] : OK;
#else
    return OK;
#endif
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
    if (params->level < 1 || params->level > 9 || params->data_fmt != 2)
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
    free(session->internal);
    session->internal = NULL;
    return OK;
}

int qzClose(Session *session)
{
    return session->internal ? FAIL : OK;
}

/* Whether the session may be used, for as many bytes of content: a code. */
static int usable(Session *session, unsigned direction, unsigned content)
{
    Inside *inside = session->internal;
    if (!inside || !pthread_equal(inside->thread, pthread_self()))
        return FAIL;
    if (inside->params.direction != direction)
        return FAIL;
    if (inside->params.sw_backup)
        return OK;
#ifdef NO_INSTANCE
    return BUSY;
#endif
    return content > PAGE ? next_answer() : OK;
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
    int code = last == 1 ? usable(session, 0, len) : -1;
    if (code != OK)
        return code;
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
            return NO_ROOM;
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
            return DAMAGED;
        last = at[0];
        size_t block = get(at + 1, 2);
        if ((get(at + 3, 2) ^ block) != 0xffff || block > deflate - 5 || block > content)
            return DAMAGED;
        memcpy(out, at + 5, block);
        at += 5 + block;
        out += block;
        deflate -= 5 + block;
        content -= block;
    }
    return deflate || content ? DAMAGED : OK;
}

/* One page of zeros, as it comes when a session is new: the only compressed data that is known. */
static int zeros(const unsigned char *at, size_t deflate, unsigned char *out, size_t content)
{
    if (deflate != 20 || content != PAGE || at[0] != 0xed)
        return DAMAGED;
    memset(out, 0, content);
    return OK;
}

int qzDecompress(Session *session, const unsigned char *src, unsigned *src_len, unsigned char *dest,
                 unsigned *dest_len)
{
    unsigned len = *src_len, room = *dest_len, done = 0, written = 0;
    *src_len = *dest_len = 0;
    int code = usable(session, 1, room);
    while (code == OK && done < len && written < room) {
        const unsigned char *at = src + done;
        unsigned left = len - done;
        uint32_t content = left < HEADER ? 0 : get(at + 16, 4);
        uint32_t deflate = left < HEADER ? 0 : get(at + 20, 4);
        if (left < HEADER + TRAILER || deflate > left - HEADER - TRAILER || content > room - written)
            return DAMAGED;
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
        return code;
    *src_len = done;
    *dest_len = written;
    return OK;
}

void *qzMalloc(size_t len, int node, int pinned)
{
    (void)node;
#ifdef NO_PINNED
    if (pinned)
        return NULL;
#endif
    (void)pinned;
    return malloc(len);
}

void qzFree(void *memory)
{
    free(memory);
}
