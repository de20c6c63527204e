# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# How a boot sector begins: from the firmware's real mode to protected mode, with segments that are all of
# memory. What comes behind runs there, with interrupts off and no stack.

        .globl  _start
        .text
        .code16
_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        inb     $0x92, %al              # the address line 20, or every other MiB is the same
        orb     $2, %al
        outb    %al, $0x92
        lgdtl   gdt_pointer
        movl    %cr0, %eax
        orb     $1, %al                 # protected mode
        movl    %eax, %cr0
        ljmpl   $8, $flat

        .align  4
gdt:
        .quad   0                       # none
        .quad   0x00cf9a000000ffff      # code, 4 GiB from 0 on
        .quad   0x00cf92000000ffff      # data, 4 GiB from 0 on
gdt_pointer:
        .word   gdt_pointer - gdt - 1
        .long   gdt

        .code32
flat:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
