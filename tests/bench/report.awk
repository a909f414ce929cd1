# SPDX-License-Identifier: Apache-2.0
# report.awk - results.tsv (contender, round, test, figure, value) -> medians as Markdown tables on
# the standard output, and a plot of the main figure into the file that -v svg names.  gawk.
BEGIN {
    FS = "\t"
    tests = split("read 4k 1x1|read 4k 1x32|read 4k 8x4|first write 4k 8x4|write again 4k 8x4|mixed 4k 8x4", test, "|")
}
{
    if (!($1 in seen)) { seen[$1] = ++contenders; name[contenders] = $1 }
    values[$1, $3, $4] = values[$1, $3, $4] " " $5
}

function median(contender, t, figure,    n, v) {
    n = split(values[contender, t, figure], v, " ")
    if (!n) return ""
    asort(v, v, "@val_num_asc")
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
function show(x, digits) { return x == "" ? "-" : sprintf("%." digits "f", x) }

function head(title, columns, list,    i, line, rule) {
    line = "| server |"; rule = "|---|"
    for (i = 1; i <= columns; i++) { line = line " " list[i] " |"; rule = rule "---|" }
    printf "\n### %s\n\n%s\n%s\n", title, line, rule
}
function table(title, figure, digits,    c, i) {
    head(title, tests, test)
    for (c = 1; c <= contenders; c++) {
        printf "| %s |", name[c]
        for (i = 1; i <= tests; i++) printf " %s |", show(median(name[c], test[i], figure), digits)
        print ""
    }
}
function ratios(    c, i, x, best, own) {
    head("The same, times the best of the others", tests, test)
    printf "| %s |", name[1]
    for (i = 1; i <= tests; i++) {
        best = 0
        for (c = 2; c <= contenders; c++) {
            x = median(name[c], test[i], "kops-per-cpu-second")
            if (x != "" && x + 0 > best) best = x + 0
        }
        own = median(name[1], test[i], "kops-per-cpu-second")
        printf " %s |", best && own != "" ? sprintf("%.1f", own / best) : "-"
    }
    print ""
}
function others(    c, n, title) {
    n = split("MB per CPU s, read 1m|flush p50 us|flush p99 us|storm s|storm CPU s|storm p99 us|storm memory MB|idle memory MB|written MB", title, "|")
    head("Long reads, flushes, and " volumes " volumes that boot at once", n, title)
    for (c = 1; c <= contenders; c++)
        printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", name[c],
            show(median(name[c], "read 1m 1x4", "mb-per-cpu-second"), 0),
            show(median(name[c], "flush 8x1", "flush-p50-us"), 0), show(median(name[c], "flush 8x1", "flush-p99-us"), 0),
            show(median(name[c], "storm", "seconds"), 2), show(median(name[c], "storm", "cpu-seconds"), 2),
            show(median(name[c], "storm", "p99-us"), 0), show(median(name[c], "storm", "memory-mb"), 1),
            show(median(name[c], "start", "memory-mb"), 1), show(median(name[c], "storm", "disk-mb"), 0)
}
# Bars: for each test the contenders, as a share of the best.
function plot(    c, i, x, y, best, width, split_colours, colour) {
    split("#2b6cb0 #9aa5b1 #b7a57a #8a9a5b #a37b8e #7a8fa5", colour, " ")
    width = 520
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n",
        60 + tests * (contenders * 16 + 20) > svg
    print "<text x=\"10\" y=\"20\" font-size=\"14\">Thousand operations per second of server CPU (longer is better)</text>" > svg
    y = 40
    for (i = 1; i <= tests; i++) {
        best = 0
        for (c = 1; c <= contenders; c++) {
            x = median(name[c], test[i], "kops-per-cpu-second") + 0
            if (x > best) best = x
        }
        printf "<text x=\"10\" y=\"%d\" font-weight=\"bold\">%s</text>\n", y + 12, test[i] > svg
        for (c = 1; c <= contenders; c++) {
            x = median(name[c], test[i], "kops-per-cpu-second") + 0
            printf "<rect x=\"290\" y=\"%d\" width=\"%.1f\" height=\"13\" fill=\"%s\"/><text x=\"280\" y=\"%d\" text-anchor=\"end\">%s</text><text x=\"%.1f\" y=\"%d\">%.0f</text>\n",
                y, best ? width * x / best : 0, colour[(c - 1) % 6 + 1], y + 11, name[c], 295 + (best ? width * x / best : 0), y + 11, x > svg
            y += 16
        }
        y += 20
    }
    print "</svg>" > svg
}
END {
    if (!contenders) { print "No contender ran."; exit }
    printf "Medians of %d round%s.  Client and servers share this machine: compare within one run only.\n", rounds, (rounds > 1 ? "s" : "")
    table("Thousand operations per second of server CPU", "kops-per-cpu-second", 1)
    if (contenders > 1) ratios()
    table("Thousand operations per second", "kops", 1)
    table("99th percentile of latency, microseconds", "p99-us", 0)
    others()
    plot()
}
