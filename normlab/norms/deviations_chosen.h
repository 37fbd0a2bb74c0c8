// The values of each statistic, sums over them, and the deviations that are chosen as the largest.

#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "aligned_values.h"
#include "fused_rows.h"
#include "largest_values.h"

namespace normlab {

using at::Tensor;

struct Sizes {
  int64_t n, v, c, d, groups;  // v samples share statistics; the last group may be smaller

  Sizes(const Tensor& x, int64_t samples)
      : n(x.size(0)), v(samples), c(x.size(1)), d(x.numel() / (n * c)), groups((n + v - 1) / v) {}
  int64_t samples(int64_t group) const { return std::min(v, n - group * v); }
  double values(int64_t s) const { return static_cast<double>(samples(s / c) * d); }
  int64_t statistics() const { return groups * c; }
};

// Calls some(sample, s, begin, end) for the channels from *begin* to *end* of each sample, in
// threads; *s* is the first statistic of its group.
template <typename Some>
void each_sample(const Sizes& z, const Some& some) {
  at::parallel_for(0, z.c, grain(z.n * z.d), [&](int64_t begin, int64_t end) {
    for (int64_t sample = 0; sample < z.n; ++sample)
      some(sample, sample / z.v * z.c, begin, end);
  });
}

// The sums of of_statistic(s)(place) over the values of each statistic.
template <typename T, typename OfStatistic>
AlignedVector<double> totals(const Sizes& z, const OfStatistic& of_statistic) {
  AlignedVector<double> found(z.statistics());
  double* to = found.data();
  each_sample(z, [&](int64_t sample, int64_t s, int64_t begin, int64_t end) {
    const int64_t first = sample * z.c;
    if (z.d == 1) {
      INDEPENDENT
      for (int64_t j = begin; j < end; ++j) to[s + j] += of_statistic(s + j)(first + j);
      return;
    }
    for (int64_t j = begin; j < end; ++j) {
      const auto of_value = of_statistic(s + j);
      const int64_t start = (first + j) * z.d;
      to[s + j] += sum<T>(z.d, [&](int64_t k) { return of_value(start + k); });
    }
  });
  return found;
}

// Calls of_statistic(s)(place) for every value.
template <typename OfStatistic>
void each_place(const Sizes& z, const OfStatistic& of_statistic) {
  each_sample(z, [&](int64_t sample, int64_t s, int64_t begin, int64_t end) {
    const int64_t first = sample * z.c;
    if (z.d == 1) {
      INDEPENDENT
      for (int64_t j = begin; j < end; ++j) of_statistic(s + j)(first + j);
      return;
    }
    for (int64_t j = begin; j < end; ++j) {
      const auto of_value = of_statistic(s + j);
      const int64_t start = (first + j) * z.d;
      INDEPENDENT
      for (int64_t k = 0; k < z.d; ++k) of_value(start + k);
    }
  });
}

// The sign of a chosen deviation; 0 for all others.
template <typename T>
T sign_from(T value, T least) {
  const T sign = static_cast<T>((value > 0) - (value < 0));
  return std::abs(value) >= least ? sign : T(0);
}

// The k largest deviations, as in `Largest`. If all are chosen, the least is 0.
template <typename T>
struct Chosen {
  T* least;       // the least chosen deviation of each statistic
  int64_t* over;  // how many of the last ones that equal it are not chosen

  // Calls take(s, place) for each deviation that equals the least and is not chosen.
  template <typename Take>
  void each_left_out(const Sizes& z, const T* x, const T* means, const Take& take) const {
    for (int64_t s = 0; s < z.statistics(); ++s) {
      int64_t left = over[s], sample = s / z.c * z.v + z.samples(s / z.c);
      while (left > 0 && sample-- > s / z.c * z.v) {
        const int64_t start = (sample * z.c + s % z.c) * z.d;
        for (int64_t at = start + z.d; left > 0 && at-- > start;) {
          if (std::abs(x[at] - means[s]) != least[s]) continue;
          take(s, at);
          --left;
        }
      }
    }
  }
};

// The sums of the k largest deviations of each statistic. Channels without positions are the lanes
// of a vector; a channel with positions has all lanes.
template <typename T>
AlignedVector<double> largest(const Sizes& z, const T* x, const T* means, int64_t k,
                            const Chosen<T>& chosen) {
  constexpr int64_t lanes = Largest<T>::kLanes;
  const int64_t tile = z.d == 1 ? lanes : 1, tiles = (z.c + tile - 1) / tile;
  AlignedVector<double> found(z.statistics());
  at::parallel_for(0, z.groups * tiles, grain(z.v * z.d * tile), [&](int64_t begin, int64_t end) {
    AlignedVector<T> numbers;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / tiles, j = i % tiles * tile, s = group * z.c + j;
      const int64_t channels = std::min(tile, z.c - j), first = group * z.v * z.c + j;
      numbers.assign((z.samples(group) * z.d * tile + lanes - 1) / lanes * lanes, T(-1));
      for (int64_t v = 0; v < z.samples(group); ++v) {
        T* to = numbers.data() + v * z.d * tile;
        const T* from = x + (first + v * z.c) * z.d;
        INDEPENDENT
        for (int64_t l = 0; l < channels * z.d; ++l)
          to[l] = std::abs(from[l] - means[z.d == 1 ? s + l : s]);
      }
      const Largest<T> most(numbers.data(), numbers.size() / lanes, k, z.d > 1);
      for (int64_t l = 0; l < channels; ++l) {
        found[s + l] = most.sum[l];
        chosen.least[s + l] = most.least[l];
        chosen.over[s + l] = most.over[l];
      }
    }
  });
  return found;
}

}  // namespace normlab
