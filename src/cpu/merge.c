/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which partial sums are combined: that of the rows, whoever computed them. */
#include "cpu.h"

#include <math.h>

static double row_entropy(double Z, double A, double log_N)
{
    if (Z == 0)
        return A; /* 0 in a silent row, NaN where a negative state cancels the others */
    if (!isfinite(A))
        return A - A; /* no entropy: the comparisons below would hide an infinity */
    const double H = log(Z) - A / Z;
    return H < 0 ? 0 : H > log_N ? log_N : H;
}

double rc_merge_row_entropy(const double *row_sums, int64_t groups, int64_t stride, int64_t rows, int64_t N,
                            double *entropy_rows)
{
    const double log_N = log((double)N);
    double total = 0;
    for (int64_t r = 0; r < rows; r++) {
        double Z = 0, A = 0;
        for (int64_t g = 0; g < groups; g++) {
            Z += row_sums[2 * (g * stride + r)];
            A += row_sums[2 * (g * stride + r) + 1];
        }
        total += row_entropy(Z, A, log_N);
        if (entropy_rows != NULL) {
            entropy_rows[2 * r] = Z == 0 ? 0 : A / Z;
            entropy_rows[2 * r + 1] = Z == 0 ? 0 : 1 / Z;
        }
    }
    return total;
}

static int64_t band_end(const rc_cpu_sweep *sweep, int64_t band)
{
    const int64_t R = rc_view_rows(sweep->view), end = (band + 1) * sweep->grid.band_rows;
    return end < R ? end : R;
}

void rc_merge_bands(const void *work, int64_t tile, void *scratch)
{
    (void)scratch;
    const rc_cpu_sweep *const sweep = work;
    const int64_t N = sweep->view->shape[2], begin = tile * RC_TILE_COLUMNS;
    const int64_t end = N - begin < RC_TILE_COLUMNS ? N : begin + RC_TILE_COLUMNS;
    for (int64_t band = 1; band < sweep->grid.bands; band++) {
        const int64_t before = band * sweep->grid.band_rows;
        const double m = (double)before, n = (double)(band_end(sweep, band) - before);
        for (int64_t i = begin; i < end; i++)
            rc_merge_moments(&sweep->mean[i], &sweep->deviations[i], m, sweep->mean[band * N + i],
                             sweep->deviations[band * N + i], n);
    }
    const double R = (double)rc_view_rows(sweep->view);
    for (int64_t i = begin; i < end; i++)
        sweep->deviations[i] /= R;
}

void rc_merge_band_rows(const void *work, int64_t band, void *scratch)
{
    (void)scratch;
    const rc_cpu_sweep *const sweep = work;
    const int64_t R = rc_view_rows(sweep->view), first = band * sweep->grid.band_rows;
    double *const entropy_rows = sweep->entropy_rows ? sweep->entropy_rows + 2 * first : NULL;
    sweep->entropy_sums[band] =
        rc_merge_row_entropy(sweep->row_sums + 2 * first, sweep->grid.groups, R,
                             band_end(sweep, band) - first, sweep->view->shape[2], entropy_rows);
}
