/* drover: reads the command line and takes a role.  The master's story is in
 * master/master.c, a balancer's in proxy/proxy.c, the monitor's in monitor/monitor.c; only
 * here do they meet. */
#include "balancer/cli/cli.h"
#include "balancer/master/master.h"
#include "balancer/monitor/monitor.h"
#include "balancer/proxy/proxy.h"
#include "common/proc.h"

int main(int argc, char **argv)
{
	struct cli_run run;
	proc_title_init(argc, argv);
	int status = cli_main(argc, argv, &run);
	if (!run.config)
		return status;
	struct master_options options = { .config_file = run.config_file, .overrides = run.overrides };
	return master_run(run.config, &options, proxy_run, monitor_run);
}
