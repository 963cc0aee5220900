/* A process of the master's that is none: nothing is forked, whoever fuzzes holds its end of
 * the channel, and signals to it are counted.  The linker leads the master here (--wrap). */
#ifndef DROVER_TESTS_FUZZ_CHILD_H
#define DROVER_TESTS_FUZZ_CHILD_H

#define CHILD_PID 0x3fffffff

extern int child_peer;       /* a copy of its end of the last channel that was made */
extern unsigned child_kills; /* signals sent to it; one to another process is a failure */
extern unsigned child_forks; /* processes started: it alone, so far as it is up to it */

#endif
