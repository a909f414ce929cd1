#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The same as check-server.sh, with 20 kills, a cable that is out for ten minutes, and no room for five.
# limit: 3600
RACK_KILLS=20 RACK_CABLE=600 RACK_PARKED=300 exec "$(dirname "$0")/check-server.sh"
