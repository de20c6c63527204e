# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# A guest that writes a counter over its memory for ever: a boot sector of 512 bytes.
#
# Pass p = 1, 2, 3, ... writes every page from 1 MiB up to the limit, in the order of addresses, and
# then prints a letter on the first serial port: A for pass 1, B for pass 2, after Z again A. A page
# is 1024 words of 32 bits, written one after another from word 0 on:
#
#   word 0      p
#   word 1      p xor the page's address
#   word 2..    1021 words of a sequence: x and mask, where x starts with
#               address xor (p and salt) and goes on with x * factor + step
#   word 1023   p
#
# factor, step, mask and salt are those of the page's kind, which is its number modulo 8 (the number
# is the address divided by 4096). Pages of kind 0 are never written. Pages of kind 7 are zero
# throughout after odd passes.
#
# So of a guest that has stopped, every page before the one that was being written is that of pass p,
# every page behind it that of pass p - 1, and in between a page changes once from one to the other.
# Whatever else is found there has been lost, is stale, or was put together from two copies.
#
# Build: as --32 -I . counter.s -o counter.o && ld -m elf_i386 -Ttext=0x7c00 --oformat binary counter.o
# The limit is a parameter: whoever builds it writes the end address into the four bytes at 504.

        .set    FIRST, 0x100000         # address of the first page
        .set    SERIAL, 0x3f8           # the first serial port's data register

        .include "protected.s"

        cld
        xorl    %ebp, %ebp              # ebp: the pass
next_pass:
        incl    %ebp
        movl    $FIRST, %edi            # edi: the next word's address
next_page:
        movl    %edi, %eax
        shrl    $12, %eax
        andl    $7, %eax
        jz      skip_page
        decl    %eax
        shll    $4, %eax
        leal    kinds(%eax), %esi       # esi: the page's kind
        movl    12(%esi), %ebx
        andl    %ebp, %ebx
        xorl    %edi, %ebx              # ebx: x
        orl     $-1, %edx               # edx: all bits, but for what has to be zero
        cmpl    $kind_7, %esi
        jne     write_page
        testl   $1, %ebp
        jz      write_page
        xorl    %edx, %edx
write_page:
        movl    %edi, %ecx
        movl    %ebp, %eax
        andl    %edx, %eax
        stosl
        movl    %ebp, %eax
        xorl    %ecx, %eax
        andl    %edx, %eax
        stosl
        movl    $1021, %ecx
next_word:
        movl    %ebx, %eax
        andl    8(%esi), %eax
        stosl
        imull   (%esi), %ebx
        addl    4(%esi), %ebx
        loop    next_word
        movl    %ebp, %eax
        andl    %edx, %eax
        stosl
        jmp     page_done
skip_page:
        addl    $4096, %edi
page_done:
        cmpl    limit, %edi
        jb      next_page

        leal    -1(%ebp), %eax
        xorl    %edx, %edx
        movl    $26, %ecx
        divl    %ecx
        leal    'A'(%edx), %eax
        movw    $SERIAL, %dx
        outb    %al, %dx
        jmp     next_pass

# Of each kind from 1 on: factor, step, mask, salt.
        .align  4
kinds:
        .long   1, 0, 0, 0                              # zero but for the counters
        .long   1, 0, -1, 0                             # one word again and again
        .long   1664525, 1013904223, -1, 0              # noise
        .long   1, 1, -1, 0                             # a table
        .long   1664525, 1013904223, 0x0f0f0f0f, 0      # half of the bits are noise
        .long   1664525, 1013904223, -1, -1             # noise that is new in every pass
kind_7:
        .long   1, 0, 0, 0                              # zero in every other pass

        .org    504
limit:
        .long   0
        .org    510
        .word   0xaa55                  # a boot sector
