# SPDX-License-Identifier: Apache-2.0
# bash completion for gridbox.  The program itself knows what may come next (`gridbox complete`); here
# its answer is only fitted to how bash cuts a line into words: at '@', ':' and '=' as well as at spaces.
# shellcheck shell=bash

_gridbox()
{
    local line word cut
    local -a words

    line=${COMP_LINE:0:COMP_POINT}
    read -ra words <<<"$line"
    [[ $line != *[[:space:]] ]] || words+=("")
    word=${words[${#words[@]} - 1]}

    mapfile -t COMPREPLY < <(command "${words[0]}" complete -- "${words[@]:1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == :file ]]; then
        COMPREPLY=()
        compopt -o default 2>/dev/null # bash's own file names
        return
    fi
    # What bash takes for the current word starts after the last of its break characters.
    cut=${word%"${word##*[@:=]}"}
    [[ -z $cut ]] || COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}
complete -F _gridbox gridbox
