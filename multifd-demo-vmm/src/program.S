# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# The guest: writes to its memory for ever, and checks what it finds there.
#
# It is position independent, uses no stack and no interrupts, and runs with flat 64-bit segments and
# paging, as boot.rs sets them up. program.rs has it assembled; a test assembles it again and compares.
#
# In:   rdi, fs base   this vCPU's control block
# Uses: rbx control block, r12 commands so far, r13d pages left of the command, r14b letter of a failure
#
# A page is known by the sum of eight of its words, 512 bytes apart. A table has the sum of each page.
# Before a page is written to, its words are added up and have to give the sum of the table: a page that
# is lost, torn or stale does not.

        .intel_syntax noprefix

# The control block, see layout.rs.
        .set FIRST, 0           # address of the first page to write to
        .set PAGES, 8           # how many there are
        .set SUMS, 16           # address of the table, 8 bytes for each page
        .set PATTERN, 24        # 0 sequential, 1 random, 2 hot
        .set STATE, 32          # of the choice of pages
        .set WRITTEN, 40        # pages written to so far
        .set TICKET, 48         # commands so far, written by the device that gives them
        .set CURSOR, 56         # next page to check
        .set CHECKED, 64        # pages checked so far by command
        .set SELF, 72           # address of this block
        .set CLOCK, 80          # time stamp counter at the last command
        .set COOKIE, 96         # 16 bytes that are in xmm7 from the start on
        .set ECHO, 112          # the same, as xmm7 has them now

        .set SERIAL, 0x3f8      # out: a letter
        .set COMMAND, 0x600     # in: how many pages to write; with bit 31 to check
        .set FAILURE, 0x604     # out: the page that is wrong

# The sum of page rcx, which is at rsi, has to be the one in the table, at rdi.
        .macro verify
        mov     rsi, rcx
        shl     rsi, 12
        add     rsi, [rbx + FIRST]
        lea     rdi, [rcx * 8]
        add     rdi, [rbx + SUMS]
        mov     rax, [rsi]
        add     rax, [rsi + 0x200]
        add     rax, [rsi + 0x400]
        add     rax, [rsi + 0x600]
        add     rax, [rsi + 0x800]
        add     rax, [rsi + 0xa00]
        add     rax, [rsi + 0xc00]
        add     rax, [rsi + 0xe00]
        mov     r14b, 'P'
        cmp     rax, [rdi]
        jne     failed
        .endm

start:  mov     rbx, rdi
        xor     r12d, r12d
        movdqu  xmm7, [rbx + COOKIE]

# What the vCPU has besides its general registers is there.
again:  xor     ecx, ecx
        mov     r14b, 'S'
        cmp     rbx, fs:[SELF]
        jne     failed
        mov     r14b, 'X'
        movdqu  [rbx + ECHO], xmm7
        mov     rax, [rbx + ECHO]
        cmp     rax, [rbx + COOKIE]
        jne     failed
        mov     rax, [rbx + ECHO + 8]
        cmp     rax, [rbx + COOKIE + 8]
        jne     failed
        mov     r14b, 'T'
        rdtsc
        shl     rdx, 32
        or      rax, rdx
        cmp     rax, [rbx + CLOCK]
        jb      failed
        mov     [rbx + CLOCK], rax

# A command, which the device has numbered in memory before it answers.
        mov     edx, COMMAND
        in      eax, dx
        inc     r12
        mov     r14b, 'D'
        cmp     r12, [rbx + TICKET]
        jne     failed
        mov     r13d, eax
        test    eax, eax
        jz      again
        js      check

# The next page, to rcx.
write:  mov     rax, [rbx + STATE]
        cmp     dword ptr [rbx + PATTERN], 0
        jne     random
        mov     rcx, rax
        inc     rax
        cmp     rax, [rbx + PAGES]
        jb      chosen
        xor     eax, eax
        jmp     chosen
random: movabs  rdx, 6364136223846793005
        imul    rax, rdx
        inc     rax
        mov     rcx, rax
        shr     rcx, 32
        imul    rcx, [rbx + PAGES]
        shr     rcx, 32
        cmp     dword ptr [rbx + PATTERN], 1
        je      chosen
        mov     edx, eax        # seven times of eight a page of the first eighth
        shr     edx, 29
        jz      chosen
        shr     rcx, 3
chosen: mov     [rbx + STATE], rax

        verify
        inc     qword ptr [rbx + WRITTEN]
        mov     rax, [rbx + WRITTEN]
        movabs  rdx, 0x9e3779b97f4a7c15
        imul    rax, rdx
        add     rax, rcx
        mov     [rsi], rax
        mov     [rsi + 0x200], rax
        mov     [rsi + 0x400], rax
        mov     [rsi + 0x600], rax
        mov     [rsi + 0x800], rax
        mov     [rsi + 0xa00], rax
        mov     [rsi + 0xc00], rax
        mov     [rsi + 0xe00], rax
        shl     rax, 3
        mov     [rdi], rax
        test    dword ptr [rbx + WRITTEN], 0xfff
        jnz     next
        mov     al, '.'
        mov     edx, SERIAL
        out     dx, al
next:   dec     r13d
        jnz     write
        jmp     again

check:  and     r13d, 0x7fffffff
        jz      again
each:   mov     rcx, [rbx + CURSOR]
        verify
        inc     qword ptr [rbx + CHECKED]
        inc     rcx
        cmp     rcx, [rbx + PAGES]
        jb      more
        xor     ecx, ecx
more:   mov     [rbx + CURSOR], rcx
        dec     r13d
        jnz     each
        jmp     again

failed: mov     al, r14b
        mov     edx, SERIAL
        out     dx, al
        mov     eax, ecx
        mov     edx, FAILURE
        out     dx, eax
stop:   hlt
        jmp     stop
