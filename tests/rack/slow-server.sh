#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The same as check-server.sh, with 20 kills and a cable that is out for ten minutes.
# limit: 3600
RACK_KILLS=20 RACK_CABLE=600 exec "$(dirname "$0")/check-server.sh"
