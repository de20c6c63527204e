// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

/* What the devices of the stand-ins know of deflate: they compress with fixed Huffman codes and matches of
 * distance 1, and decompress stored blocks and those with fixed codes. Blocks with codes of their own they
 * refuse. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { BAD_INPUT = -1, NO_PLACE = -2 };

struct bits {
    uint8_t *bytes;
    uint32_t length, at;
    uint32_t held, count;
    bool overrun;
};

static void put(struct bits *out, uint32_t value, uint32_t count)
{
    out->held |= value << out->count;
    for (out->count += count; out->count >= 8; out->count -= 8) {
        if (out->at == out->length)
            out->overrun = true;
        else
            out->bytes[out->at++] = out->held;
        out->held >>= 8;
    }
}

/* Huffman codes go in with their first bit first. */
static void put_code(struct bits *out, uint32_t code, uint32_t count)
{
    while (count--)
        put(out, code >> count & 1, 1);
}

static void put_symbol(struct bits *out, uint32_t symbol)
{
    if (symbol < 144)
        put_code(out, 0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(out, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(out, symbol - 256, 7);
    else
        put_code(out, 0xc0 + symbol - 280, 8);
}

/* Writes all of it as one last block, and fills up the last byte. */
static void deflate(struct bits *out, const uint8_t *from, uint32_t length)
{
    put(out, 3, 3);
    for (uint32_t i = 0; i < length;) {
        uint32_t run = 0;

        while (i && i + run < length && run < 258 && from[i + run] == from[i - 1])
            run++;
        if (run == 258) {
            put_symbol(out, 285);
        } else if (run >= 3) {
            run = run > 10 ? 10 : run;
            put_symbol(out, 254 + run);
        } else {
            put_symbol(out, from[i++]);
            continue;
        }
        put_code(out, 0, 5);
        i += run;
    }
    put_symbol(out, 256);
    put(out, 0, (8 - out->count % 8) % 8);
}

static uint32_t take(struct bits *in, uint32_t count)
{
    uint32_t value = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (!in->count) {
            if (in->at == in->length) {
                in->overrun = true;
                return 0;
            }
            in->held = in->bytes[in->at++];
            in->count = 8;
        }
        value |= (in->held & 1) << i;
        in->held >>= 1;
        in->count--;
    }
    return value;
}

static uint32_t take_code(struct bits *in, uint32_t code, uint32_t count)
{
    while (count--)
        code = code << 1 | take(in, 1);
    return code;
}

static uint32_t take_symbol(struct bits *in)
{
    uint32_t code = take_code(in, 0, 7);

    if (code < 24)
        return 256 + code;
    code = take_code(in, code, 1);
    if (code < 0xc0)
        return code - 0x30;
    if (code < 0xc8)
        return 280 + code - 0xc0;
    return 144 + take_code(in, code, 1) - 0x190;
}

/* Answers the length; BAD_INPUT for what the device does not take, NO_PLACE without room. */
static int64_t inflate(const uint8_t *from, uint32_t length, uint8_t *to, uint32_t room)
{
    static const uint16_t base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                    31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    struct bits in = {.bytes = (uint8_t *)from, .length = length};
    uint32_t done = 0, last, kind;

    do {
        last = take(&in, 1);
        kind = take(&in, 2);
        if (kind == 0) {
            in.count = 0;
            uint32_t size = take(&in, 16);
            if ((size ^ take(&in, 16)) != 0xffff || in.length - in.at < size)
                return BAD_INPUT;
            if (room - done < size)
                return NO_PLACE;
            memcpy(to + done, from + in.at, size);
            in.at += size;
            done += size;
        } else if (kind == 1) {
            for (;;) {
                uint32_t symbol = take_symbol(&in);
                if (in.overrun || symbol > 285)
                    return BAD_INPUT;
                if (symbol == 256)
                    break;
                uint32_t size = 1, distance = 0;
                if (symbol > 256) {
                    uint32_t extra = symbol < 265 || symbol == 285 ? 0 : (symbol - 261) / 4;
                    size = base[symbol - 257] + take(&in, extra);
                    distance = take_code(&in, 0, 5);
                    if (distance > 29)
                        return BAD_INPUT;
                    extra = distance < 4 ? 0 : distance / 2 - 1;
                    distance = distance < 4 ? distance + 1
                                            : ((2 + distance % 2) << extra) + 1 + take(&in, extra);
                    if (distance > done)
                        return BAD_INPUT;
                }
                if (room - done < size)
                    return NO_PLACE;
                for (; size; size--, done++)
                    to[done] = distance ? to[done - distance] : symbol;
            }
        } else {
            return BAD_INPUT;
        }
        if (in.overrun)
            return BAD_INPUT;
    } while (!last);
    return done;
}
