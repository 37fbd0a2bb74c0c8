// Loops over the rows of the data. A row is one channel of one sample and has d values.

#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

// The rows of a loop never overlap, but a compiler cannot know this of so many pointers.
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

namespace normlab {

constexpr int64_t kLanes = 16;
constexpr int64_t kBlock = 1024;  // sums of up to this many values have the type of the data

// The number of rows from which another thread is worth its cost.
inline int64_t grain(int64_t d) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(d, 1)); }

// The sum of term(i) for i < d, in lanes that become vectors, and in double between blocks.
template <typename T, typename Term>
double sum(int64_t d, const Term& term) {
  double total = 0;
  for (int64_t start = 0; start < d; start += kBlock) {
    const int64_t end = std::min(start + kBlock, d);
    T lanes[kLanes] = {};
    int64_t i = start;
    for (; i + kLanes <= end; i += kLanes)
      for (int64_t k = 0; k < kLanes; ++k) lanes[k] += term(i + k);
    for (; i < end; ++i) lanes[0] += term(i);
    for (const T lane : lanes) total += lane;
  }
  return total;
}

// Calls of_row(r)(place) for every value of every row, in threads. What a row needs is read once,
// and many rows of one value are as fast as one row of many values.
template <typename OfRow>
void each_value(int64_t rows, int64_t d, const OfRow& of_row) {
  at::parallel_for(0, rows, grain(d), [&](int64_t begin, int64_t end) {
    if (d == 1) {
      INDEPENDENT
      for (int64_t r = begin; r < end; ++r) of_row(r)(r);
      return;
    }
    for (int64_t r = begin; r < end; ++r) {
      const auto of_value = of_row(r);
      const int64_t start = r * d;
      INDEPENDENT
      for (int64_t k = 0; k < d; ++k) of_value(start + k);
    }
  });
}

// The mean and the biased variance, computed about a first mean so that no digit is lost.
template <typename T>
void row_moments(const T* row, int64_t d, T& mean, T& var) {
  const double center = sum<T>(d, [row](int64_t i) { return row[i]; }) / d;
  const T c = static_cast<T>(center);
  const double off = sum<T>(d, [row, c](int64_t i) { return row[i] - c; }) / d;
  const double square = sum<T>(d, [row, c](int64_t i) { return (row[i] - c) * (row[i] - c); }) / d;
  mean = static_cast<T>(c + off);
  var = static_cast<T>(std::max(square - off * off, 0.0));
  if (square != square) var = static_cast<T>(square);  // max would drop a NaN
}

// The sums of g and of g * (x - c).
template <typename T>
void row_dots(const T* g, const T* x, T c, int64_t d, T& s0, T& s1) {
  s0 = static_cast<T>(sum<T>(d, [g](int64_t i) { return g[i]; }));
  s1 = static_cast<T>(sum<T>(d, [g, x, c](int64_t i) { return g[i] * (x[i] - c); }));
}

}  // namespace normlab
