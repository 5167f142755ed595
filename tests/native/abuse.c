/* SPDX-License-Identifier: Apache-2.0 */
/* Misuse of every kind through the public header alone: each must give the right status and one clear line. */
#include "check.h"

extern const scenario argument_scenarios[], device_scenarios[], thread_scenarios[], engine_scenarios[];

const scenario *const scenario_lists[] = {argument_scenarios, device_scenarios, thread_scenarios, engine_scenarios,
                                          NULL};
