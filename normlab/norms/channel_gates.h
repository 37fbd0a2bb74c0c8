// Gates that merge each channel with a partner, one gate after another: see meta.py. Eight samples
// at a time are the lanes of a vector, so that every step between partners is as fast.

#pragma once

#include <cstdint>
#include <vector>

#include "pooled_unions.h"

namespace normlab {

constexpr int64_t kTile = 8;
typedef double Lanes __attribute__((vector_size(kTile * sizeof(double))));

// Moments or their gradients, for each channel of eight samples.
struct Tile {
  std::vector<Lanes> mean, var;

  explicit Tile(int64_t channels = 0) : mean(channels), var(channels) {}

  static void load(const double* rows, int64_t samples, std::vector<Lanes>& to) {
    const int64_t c = to.size();
    for (int64_t j = 0; j < c; ++j) {
      Lanes value = {};
      for (int64_t l = 0; l < samples; ++l) value[l] = rows[l * c + j];
      to[j] = value;
    }
  }
};

// The turns of a tile. A gate is open or closed, and channels that an open one has merged have the
// same moments, so each turn keeps one of them.
class Turns {
 public:
  Turns(const Values& gates, int64_t channels) : c_(channels), gates_(gates) {
    kept_.push_back({0});
    levels_.emplace_back(c_);
    at_.push_back(0);
    for (size_t k = 0; k < gates_.size(); ++k) {
      std::vector<int64_t> next;
      for (const int64_t prefix : kept_[k]) {
        next.push_back(open(k) ? prefix : 2 * prefix);
        next.push_back(open(k) ? prefix : 2 * prefix + 1);
      }
      kept_.push_back(next);
      if (open(k)) levels_.emplace_back(levels_.back().mean.size() / 2);
      at_.push_back(levels_.size() - 1);
    }
  }

  // Take *samples* rows of all channels through the turns, and write their moments after the last.
  void merge(const double* mean, const double* var, int64_t samples, double* to_mean,
             double* to_var) {
    Tile::load(mean, samples, levels_[0].mean);
    Tile::load(var, samples, levels_[0].var);
    for (size_t k = 0; k < gates_.size(); ++k)
      if (open(k)) turn(levels_[at_[k]], step(k), levels_[at_[k + 1]]);
    const std::vector<int64_t>& last = kept_.back();
    const Tile& merged = levels_.back();
    for (int64_t l = 0; l < samples; ++l) {
      for (int64_t j = 0; j < c_; ++j) {
        to_mean[l * c_ + j] = merged.mean[last[j]][l];
        to_var[l * c_ + j] = merged.var[last[j]][l];
      }
    }
  }

  // Replace the gradients after the turns of the rows that were merged last by those before, and
  // add those of the gates.
  void back(int64_t samples, Moments& grad, Values& of_gates) const {
    Tile tile(c_);
    Tile::load(grad.mean.data(), samples, tile.mean);
    Tile::load(grad.var.data(), samples, tile.var);
    for (size_t k = gates_.size(); k-- > 0;) {
      const Lanes found = turn_back(k, tile);
      const double rest = open(k) ? 0.5 : 1.0;
      // d share / d g is (1 - share)^2, and a straight-through gate moves g by half
      for (int64_t l = 0; l < samples; ++l) of_gates[k] += 0.5 * rest * rest * found[l];
    }
    for (int64_t l = 0; l < samples; ++l) {
      for (int64_t j = 0; j < c_; ++j) {
        grad.mean[l * c_ + j] = tile.mean[j][l];
        grad.var[l * c_ + j] = tile.var[j][l];
      }
    }
  }

 private:
  bool open(size_t k) const { return gates_[k] > 0; }
  int64_t step(size_t k) const { return c_ >> (k + 1); }

  static void turn(const Tile& own, int64_t s, Tile& out) {
    const int64_t size = out.mean.size();
    for (int64_t to = 0, from = 0; to < size; to += s, from += 2 * s) {
      const Lanes *mean = own.mean.data() + from, *var = own.var.data() + from;
      for (int64_t i = 0; i < s; ++i) {
        const Lanes half = (mean[i + s] - mean[i]) * 0.5;
        out.mean[to + i] = mean[i] + half;
        out.var[to + i] = (var[i] + var[i + s]) * 0.5 + half * half;
      }
    }
  }

  Lanes turn_back(size_t k, Tile& grad) const {
    const int64_t s = step(k), prefixes = kept_[k].size();
    Lanes found = {};
    for (int64_t a = 0; a < prefixes; ++a) {
      const Lanes* mean = levels_[at_[k]].mean.data() + kept_[k][a] * 2 * s;
      const Lanes* var = levels_[at_[k]].var.data() + kept_[k][a] * 2 * s;
      Lanes *m = grad.mean.data() + a * 2 * s, *v = grad.var.data() + a * 2 * s;
      found += open(k) ? back_open(mean, var, s, m, v) : back_closed(mean, var, s, m, v);
    }
    return found;
  }

  // The share of the partner is 1/2.
  static Lanes back_open(const Lanes* mean, const Lanes* var, int64_t s, Lanes* m, Lanes* v) {
    Lanes found = {};
    for (int64_t i = 0; i < s; ++i) {
      const Lanes apart = mean[i + s] - mean[i];
      found += (m[i] - m[i + s]) * apart + (v[i] - v[i + s]) * (var[i + s] - var[i]);
      const Lanes both = (v[i] + v[i + s]) * 0.5, pull = apart * both;
      const Lanes middle = (m[i] + m[i + s]) * 0.5;
      m[i] = middle - pull;
      m[i + s] = middle + pull;
      v[i] = v[i + s] = both;
    }
    return found;
  }

  // The share of the partner is 0, but the gate learns.
  static Lanes back_closed(const Lanes* mean, const Lanes* var, int64_t s, const Lanes* m,
                           const Lanes* v) {
    Lanes found = {};
    for (int64_t i = 0; i < s; ++i) {
      const Lanes apart = mean[i + s] - mean[i];
      found += (m[i] - m[i + s]) * apart + (v[i] - v[i + s]) * (var[i + s] - var[i]);
      found += (v[i] + v[i + s]) * (apart * apart);
    }
    return found;
  }

  int64_t c_;
  Values gates_;
  std::vector<std::vector<int64_t>> kept_;  // before each turn: where the moments of a prefix are
  std::vector<Tile> levels_;  // before the first turn, and after each open gate
  std::vector<size_t> at_;    // before each turn, and after the last: the level
};

}  // namespace normlab
