/* drover: reads the command line and takes a role.  The master's story is in
 * master/master.c, a balancer's in proxy/proxy.c, the monitor's in monitor/monitor.c; only
 * here do they meet. */
#include "balancer/cli/cli.h"
#include "balancer/master/master.h"
#include "balancer/master/takeover.h"
#include "balancer/monitor/monitor.h"
#include "balancer/proxy/proxy.h"
#include "common/proc.h"

int main(int argc, char **argv)
{
	proc_title_init(argc, argv);
	struct takeover takeover = takeover_begin(argv);
	struct cli_run run = { .takes_over = takeover.state_fd >= 0 };
	int status = cli_main(argc, argv, &run);
	struct master_options options = {
		.config_file = run.config_file, .overrides = run.overrides, .argv = argv
	};
	if (run.role == CLI_NONE)
		return status;
	if (run.role == CLI_REHEARSE)
		master_rehearse(&options, proxy_run, monitor_run);
	if (run.takes_over)
		return master_take_over(&takeover, &options, proxy_run, monitor_run);
	return master_run(run.config, &options, proxy_run, monitor_run);
}
