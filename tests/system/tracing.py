"""Makes another process call the system: what a bug or an attacker in it would do.  x86-64."""
import ctypes
import os
import platform
import signal

POSSIBLE = platform.machine() == 'x86_64' and os.geteuid() == 0

PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_ATTACH, PTRACE_DETACH = 12, 13, 16, 17
REGISTERS = ('r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss '
	     'fs_base gs_base ds es fs gs').split()
SYSCALL_BYTES = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class Registers(ctypes.Structure):
	_fields_ = [(name, ctypes.c_ulong) for name in REGISTERS]


def _ptrace(request, pid, data=None):
	if _libc.ptrace(request, pid, None, data) == -1:
		raise OSError(ctypes.get_errno(), f'ptrace {request}')


def inject(pid, number, *arguments):
	"""The process, waiting in some system call, makes this one instead, and goes on."""
	_ptrace(PTRACE_ATTACH, pid)
	_, status = os.waitpid(pid, 0x40000000)  # __WALL
	assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSTOP
	r = Registers()
	_ptrace(PTRACE_GETREGS, pid, ctypes.byref(r))
	assert r.orig_rax < 1 << 32, 'it waits in a system call'
	for name, value in zip(('rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'), arguments):
		setattr(r, name, value)
	r.rip -= SYSCALL_BYTES
	r.rax, r.orig_rax = number, ctypes.c_ulong(-1).value
	_ptrace(PTRACE_SETREGS, pid, ctypes.byref(r))
	_ptrace(PTRACE_DETACH, pid)
