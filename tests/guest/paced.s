# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# A guest that writes to so many pages per tick of a clock of 1000 Hz: a boot sector of 512 bytes.
#
# It writes to one page after the other from 1 MiB up to the limit, and begins again. To each page it
# writes a counter, eight times, 512 bytes apart. Between its ticks it is halted.
#
# Build: as --32 -I . paced.s -o paced.o && ld -m elf_i386 -Ttext=0x7c00 --oformat binary paced.o
# Pages per tick and limit are parameters: whoever builds it writes them into the words at 500 and 504.

        .set    FIRST, 0x100000         # address of the first page
        .set    INTERRUPTS, 0x10000     # the interrupt descriptors
        .set    CLOCK, 0x20             # the clock's interrupt
        .set    DIVISOR, 1193           # of 1193182 Hz

        .include "protected.s"

        movl    $0x7c00, %esp
        cld
        movl    $tick, %eax
        movw    %ax, INTERRUPTS + CLOCK * 8
        movw    $8, INTERRUPTS + CLOCK * 8 + 2
        movw    $0x8e00, INTERRUPTS + CLOCK * 8 + 4
        movw    $0, INTERRUPTS + CLOCK * 8 + 6
        lidtl   idt_pointer
        movl    $controllers, %esi      # pairs of port and value
        movl    $13, %ecx
        xorl    %edx, %edx
next_port:
        lodsb
        movb    %al, %dl
        lodsb
        outb    %al, %dx
        loop    next_port
        movb    $'A', %al
        movw    $0x3f8, %dx             # the first serial port
        outb    %al, %dx
        sti

        xorl    %ebp, %ebp              # ebp: pages written
        movl    $FIRST, %edi            # edi: the next page
sleep:
        hlt
        movl    rate, %ecx
next_page:
        incl    %ebp
        .irp    word, 0, 1, 2, 3, 4, 5, 6, 7
        movl    %ebp, \word * 0x200(%edi)
        .endr
        addl    $4096, %edi
        cmpl    limit, %edi
        jb      same_pass
        movl    $FIRST, %edi
same_pass:
        loop    next_page
        jmp     sleep

tick:
        pushl   %eax
        movb    $0x20, %al              # end of interrupt
        outb    %al, $0x20
        popl    %eax
        iretl

controllers:
        .byte   0x20, 0x11, 0xa0, 0x11  # both interrupt controllers: begin
        .byte   0x21, CLOCK, 0xa1, CLOCK + 8
        .byte   0x21, 4, 0xa1, 2        # the second one is behind line 2
        .byte   0x21, 1, 0xa1, 1
        .byte   0x43, 0x34              # the clock: again and again
        .byte   0x40, DIVISOR & 0xff, 0x40, DIVISOR >> 8
        .byte   0x21, 0xfe, 0xa1, 0xff  # only the clock

        .align  4
idt_pointer:
        .word   (CLOCK + 1) * 8 - 1
        .long   INTERRUPTS

        .org    500
rate:
        .long   0
limit:
        .long   0
        .org    510
        .word   0xaa55                  # a boot sector
