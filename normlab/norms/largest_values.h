// The k largest of some numbers that are not negative, without sorting: a threshold is enclosed
// between two numbers, and each turn counts how many numbers reach their middle. This has no
// branches, so a compiler can use vectors; a heap would need a branch for each number.

#pragma once

#include <cstdint>
#include <cstring>

namespace normlab {

template <typename T>
struct Wide;

template <>
struct Wide<float> {
  using Count = int32_t;
  typedef float Values __attribute__((vector_size(64)));
  typedef int32_t Counts __attribute__((vector_size(64)));
};

template <>
struct Wide<double> {
  using Count = int64_t;
  typedef double Values __attribute__((vector_size(64)));
  typedef int64_t Counts __attribute__((vector_size(64)));
};

// The numbers from *least* on are chosen, without the last *over* ones that equal it; *sum* is
// their sum. Each lane chooses by itself, or all lanes choose together and have the same result.
template <typename T>
class Largest {
 public:
  using Values = typename Wide<T>::Values;
  using Counts = typename Wide<T>::Counts;
  using Count = typename Wide<T>::Count;
  static constexpr int64_t kLanes = sizeof(Values) / sizeof(T);

  Values least = {};
  Counts over = {};
  double sum[kLanes] = {};

  // *numbers* are rows with a number for each lane; one below 0 is never chosen.
  Largest(const T* numbers, int64_t rows, int64_t k, bool together)
      : numbers_(numbers), rows_(rows), together_(together) {
    const Counts wanted = Counts{} + static_cast<Count>(k);
    Values high = most();
    Counts reach = counted(high);
    const Counts ties = reach >= wanted;  // the threshold is the largest number itself
    least = ties ? high : least;
    reach = ties ? reach : counted(least);
    while (true) {
      const Values middle = least + (high - least) * T(0.5);
      const Counts open = (middle > least) & (middle < high) & (reach > wanted);
      if (!any(open)) break;
      const Counts found = counted(middle), enough = open & (found >= wanted);
      least = enough ? middle : least;
      reach = enough ? found : reach;
      high = (open & ~enough) ? middle : high;
    }
    over = reach > wanted ? reach - wanted : over;
    add();
  }

 private:
  Values row(int64_t i) const {
    Values found;
    std::memcpy(&found, numbers_ + i * kLanes, sizeof(found));
    return found;
  }

  Values most() const {
    Values found = {};
    for (int64_t i = 0; i < rows_; ++i) {
      const Values value = row(i);
      found = value > found ? value : found;
    }
    if (!together_) return found;
    T all = 0;
    for (int64_t l = 0; l < kLanes; ++l) all = found[l] > all ? found[l] : all;
    return Values{} + all;
  }

  Counts counted(Values from) const {
    Counts found = {};
    for (int64_t i = 0; i < rows_; ++i) found -= row(i) >= from;  // true is -1
    if (!together_) return found;
    Count all = 0;
    for (int64_t l = 0; l < kLanes; ++l) all += found[l];
    return Counts{} + all;
  }

  void add() {
    constexpr int64_t kBlock = 64;  // rows that are added up in T
    for (int64_t start = 0; start < rows_; start += kBlock) {
      const int64_t end = start + kBlock < rows_ ? start + kBlock : rows_;
      Values block = {};
      for (int64_t i = start; i < end; ++i) {
        const Values value = row(i);
        block += value >= least ? value : Values{};
      }
      for (int64_t l = 0; l < kLanes; ++l) sum[l] += block[l];
    }
    if (together_) {
      double all = 0;
      for (const double part : sum) all += part;
      for (double& part : sum) part = all;
    }
    for (int64_t l = 0; l < kLanes; ++l) sum[l] -= double(over[l]) * least[l];
  }

  static bool any(Counts truths) {
    bool found = false;
    for (int64_t l = 0; l < kLanes; ++l) found |= truths[l] != 0;
    return found;
  }

  const T* numbers_;
  int64_t rows_;
  bool together_;
};

}  // namespace normlab
