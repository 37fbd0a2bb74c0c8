// 1 / sqrt(v + eps) for a whole row. A root and a division of vectors take longer than all other
// work of a normalizer on them; Newton's steps need only products.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "fused_rows.h"

namespace normlab {

// It starts from Lomont's guess with an error of 0.0018; three steps bring it below rounding.
inline float newton_inverse_root(float v) {
  int32_t bits;
  std::memcpy(&bits, &v, sizeof(bits));
  bits = 0x5f375a86 - (bits >> 1);
  float y;
  std::memcpy(&y, &bits, sizeof(y));
  const float half = 0.5f * v;
  for (int step = 0; step < 3; ++step) y *= 1.5f - half * y * y;
  return y;
}

inline void inverse_roots(const double* v, double eps, double* to, int64_t c, double) {
  INDEPENDENT
  for (int64_t j = 0; j < c; ++j) to[j] = 1 / std::sqrt(v[j] + eps);
}

// The roots are floats, because a root in double takes long.
inline void inverse_roots(const double* v, double eps, double* to, int64_t c, float) {
  int32_t outside = 0;  // values outside the range in which no step overflows, such as a NaN
  INDEPENDENT
  for (int64_t j = 0; j < c; ++j) {
    const float value = static_cast<float>(v[j] + eps);
    to[j] = newton_inverse_root(value);
    outside += !(value > 1e-30f && value < 1e30f);
  }
  if (outside == 0) return;
  INDEPENDENT
  for (int64_t j = 0; j < c; ++j) to[j] = 1 / std::sqrt(static_cast<float>(v[j] + eps));
}

}  // namespace normlab
