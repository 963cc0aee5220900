/* What people type who know nginx, PM2, HAProxy or gunicorn. */
#ifndef DROVER_CLI_HABITS_H
#define DROVER_CLI_HABITS_H

/* What to do instead, to stand behind "there is no command WORD; "; NULL when the
 * word is nobody's habit. */
const char *habit_command(const char *word);

/* The same for an option of `drover run`, without its dashes. */
const char *habit_option(const char *word);

#endif
