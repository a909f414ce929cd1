/* SPDX-License-Identifier: Apache-2.0 */
/* histogram - what is not on anybody's hot path. */
#include "server/base/histogram.h"

uint64_t histogram_total(const struct histogram *h)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += h->count[i];
    return total;
}

uint64_t histogram_quantile_us(const struct histogram *h, double share)
{
    double rank = share * (double)histogram_total(h), below = 0;

    for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
        double here = (double)h->count[i];
        if (here > 0 && below + here >= rank) {
            double from = i ? (double)histogram_bound_us(i - 1) : 0;
            double width = (double)histogram_bound_us(i) - from;
            return (uint64_t)(from + width * (rank - below) / here);
        }
        below += here;
    }
    return below < rank ? histogram_bound_us(HISTOGRAM_BOUNDS - 1) : 0;
}
