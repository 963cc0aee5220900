/* Time, read once per loop turn.  Monotonic microseconds for everything that is
 * compared; wall time only for what is printed. */
#ifndef DROVER_COMMON_CLOCK_H
#define DROVER_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Reads CLOCK_MONOTONIC and CLOCK_REALTIME_COARSE; call at the top of each loop turn. */
void clock_update(void);

/* Monotonic microseconds, read now; the turn's time stays. */
uint64_t clock_read_us(void);

/* Monotonic microseconds as of the last clock_update(). Calls it when never called. */
uint64_t clock_now_us(void);

/* Wall time as of the last clock_update(). */
struct timespec clock_wall(void);

/* Tests only: freezes the monotonic clock at `now_us`; 0 thaws it. */
void clock_freeze(uint64_t now_us);

#endif
