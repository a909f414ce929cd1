#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/completion.sh - bash completes commands, options and the names of things
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs bash

# What <Tab> offers after a line, sorted, on one line.
tab() # LINE
{
    # shellcheck disable=SC2016 # that is for bash
    env PATH="$build:$PATH" COMPLETION="$top/server/cli/completion.bash" COMP_LINE="$1" bash --norc -c '
        . "$COMPLETION"
        # The words as bash would cut them.
        COMP_POINT=${#COMP_LINE}
        read -ra COMP_WORDS <<<"${COMP_LINE//@/ @ }"
        [[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        $(complete -p gridbox | sed "s/.*-F \([^ ]*\) .*/\1/")
        printf "%s\n" "${COMPREPLY[@]}"' 2>/dev/null | sed 's/ *$//' | sort | tr '\n' ' ' | sed 's/ $//'
}

is "$(tab 'gridbox ')" "domain events host image snapshot status store top volume" "commands"
is "$(tab 'gridbox vol')" "volume" "the rest of a command"
is "$(tab 'gridbox volume ')" "attach clone create detach list promote quota remove reset resize rollback show snapshot" \
    "what volume can do"
is "$(tab 'gridbox volume attach --')" "--all --force --help --json --server --version" "options"
is "$(tab 'gridbox fly ')" "" "after nonsense nothing"
is "$(tab 'gridbox volume attach ')" "" "no server: no names, and no error"

start_server
truncate -s 16M "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
import_image zero "$tap_tmp/zero.raw"
gridbox volume create 'v%d' --image zero --count 3 >/dev/null
is "$(tab 'gridbox volume attach ')" "v0 v1 v2" "names of volumes"
is "$(tab 'gridbox volume attach v1 ')" "v0 v1 v2" "and of more"
is "$(tab 'gridbox volume create x --image ')" "zero" "an image as the value of an option"
is "$(tab 'gridbox image show zero@')" "1 2" "versions of an image"
is "$(tab 'gridbox volume list ')" "" "nothing where nothing belongs"
is "$(tab 'gridbox host approve h --loader ')" "auto undionly" "loaders"
gridbox volume snapshot early v0 v1 >/dev/null
gridbox volume snapshot late v1 >/dev/null
is "$(tab 'gridbox volume rollback ')" "early late" "snapshots"
is "$(tab 'gridbox volume rollback early ')" "v0 v1 v2" "and then volumes"
is "$(tab 'gridbox volume clone v')" "v0 v1 v2" "what can be cloned"
is "$(tab 'gridbox volume clone v0@')" "early" "with an @: the snapshots that hold it"
is "$(tab 'gridbox top --sort l')" "latency" "keys to sort by"
is "$(tab "gridbox --server unix:$tap_tmp/none volume attach ")" "" "--server is heeded"
done_testing
