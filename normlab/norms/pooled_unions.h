// Unions of rows and their moments, in double. A row is one channel of one sample.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "aligned_values.h"
#include "fused_rows.h"

namespace normlab {

using Values = AlignedVector<double>;

struct Moments {
  Values mean, var;

  explicit Moments(int64_t size = 0) : mean(size), var(size) {}
};

// Two numbers for each row, both (N, C); without a second one it is 0, as in new `Moments`.
template <typename T>
struct Rows {
  const T *first, *second;
  int64_t c;

  const T* first_of(int64_t i) const { return first + i * c; }
  const T* second_of(int64_t i) const { return second == nullptr ? nullptr : second + i * c; }

  void read(int64_t i, double* a, double* b) const {
    const T *from = first_of(i), *other = second_of(i);
    INDEPENDENT
    for (int64_t j = 0; j < c; ++j) a[j] = from[j];
    if (other == nullptr) return;
    INDEPENDENT
    for (int64_t j = 0; j < c; ++j) b[j] = other[j];
  }
};

// The rows that are merged: *samples* consecutive samples with *block* consecutive channels, or, if
// *block* is one, every *wide*-th channel.
struct Union {
  int64_t n, c, samples, block, wide, count;
  bool single;  // each union is one row

  Union(const int64_t* pool, int64_t n, int64_t c)
      : n(n), c(c), samples(pool[0]), block(pool[2] > 0 ? 1 : pool[1]),
        wide(pool[2] > 0 ? pool[2] : c / pool[1]), count(before(n + samples - 1)),
        single(samples == 1 && wide == c) {}

  // The number of unions before that of sample i.
  int64_t before(int64_t i) const { return i / samples * wide; }

  // Calls take(k, rows) for each union k of *some* samples from *start* on, and its number of rows.
  template <typename Take>
  void sized(int64_t start, int64_t some, const Take& take) const {
    for (int64_t i = start; i < start + some; i += samples) {
      const int64_t base = before(i);
      const double rows = static_cast<double>(std::min(samples, n - i) * (c / wide));
      INDEPENDENT
      for (int64_t k = base; k < base + wide; ++k) take(k, rows);
    }
  }

  // Adds of_union(k)(j) for each channel j of sample i to the total of its union k.
  template <typename OfUnion>
  void add(int64_t i, double* totals, const OfUnion& of_union) const {
    const int64_t base = before(i);
    if (block > 1) {
      for (int64_t k = 0; k < wide; ++k) {
        const auto term = of_union(base + k);
        totals[base + k] += sum<double>(block, [&](int64_t j) { return term(k * block + j); });
      }
      return;
    }
    for (int64_t start = 0; start < c; start += wide)
      INDEPENDENT
      for (int64_t k = 0; k < wide; ++k) totals[base + k] += of_union(base + k)(start + k);
  }

  // Calls of_union(k)(j) for each channel j of sample i and its union k.
  template <typename OfUnion>
  void each(int64_t i, const OfUnion& of_union) const {
    const int64_t base = before(i);
    if (block > 1) {
      for (int64_t k = 0; k < wide; ++k) {
        const auto take = of_union(base + k);
        INDEPENDENT
        for (int64_t j = k * block; j < (k + 1) * block; ++j) take(j);
      }
      return;
    }
    for (int64_t start = 0; start < c; start += wide)
      INDEPENDENT
      for (int64_t k = 0; k < wide; ++k) of_union(base + k)(start + k);
  }
};

// The moments of unions, both (count,): `add_mean` of samples, `divide`, `add_about`, `divide`.
struct Pool {
  Union rows;
  double *mean, *var;

  void add_mean(int64_t i, const double* of_rows) {
    if (rows.single) return copy(of_rows, i, mean);
    rows.add(i, mean, [=](int64_t) { return [=](int64_t j) { return of_rows[j]; }; });
  }

  void add_about(int64_t i, const double* of_rows, const double* spread) {
    if (rows.single) return copy(spread, i, var);
    const double* centre = mean;
    rows.add(i, var, [=](int64_t k) {
      const double middle = centre[k];
      return [=](int64_t j) {
        return spread[j] + (of_rows[j] - middle) * (of_rows[j] - middle);
      };
    });
  }

  // Divides values of unions, those of *samples* from *start* on, by the number of rows.
  void divide(int64_t start, int64_t samples, double* totals) const {
    if (rows.single) return;
    rows.sized(start, samples, [=](int64_t k, double size) { totals[k] /= size; });
  }

  // Adds the gradients of its moments, m and v, already divided, to those of the rows of sample i;
  // without *of_var*, only to those of the means.
  void spread(int64_t i, const double* m, const double* v, const double* of_rows, double* of_mean,
              double* of_var) const {
    const double* centre = mean;
    if (of_var == nullptr) {
      rows.each(i, [=](int64_t k) {
        const double mk = m[k], vk = 2 * v[k], middle = centre[k];
        return [=](int64_t j) { of_mean[j] += mk + (of_rows[j] - middle) * vk; };
      });
      return;
    }
    rows.each(i, [=](int64_t k) {
      const double mk = m[k], vk = v[k], middle = centre[k];
      return [=](int64_t j) {
        of_mean[j] += mk + 2 * (of_rows[j] - middle) * vk;
        of_var[j] += vk;
      };
    });
  }

 private:
  void copy(const double* of_rows, int64_t i, double* to) const {
    std::copy_n(of_rows, rows.c, to + i * rows.c);
  }
};

}  // namespace normlab
