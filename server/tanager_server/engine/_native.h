// What the compiled parts have in common: views of NumPy's arrays, sparse rows, products, recency.

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace py = pybind11;

// Compiled for several processors; the best is chosen when the module is loaded.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

namespace tanager {

// What was added to a sparse matrix after it was made, by row; the entries of a row in the order of their columns.
struct AddedEntries {
  using Entries = std::vector<std::pair<std::int32_t, float>>;

  std::vector<Entries> rows;
  std::int32_t end = 0;  // no column from here on has entries

  // The entries of a column, in place of those it was given before; `at` ascends, from 0 or more.
  void set_column(std::int32_t column, const std::int32_t* at, const float* weights, std::size_t count) {
    if (column < end) {
      for (std::size_t row = 0; row < rows.size(); ++row) {
        if (std::binary_search(at, at + count, static_cast<std::int32_t>(row))) continue;
        const auto found = place(rows[row], column);
        if (found != rows[row].end() && found->first == column) rows[row].erase(found);
      }
    }
    const std::size_t needed = count == 0 ? 0 : static_cast<std::size_t>(at[count - 1]) + 1;
    if (needed > rows.size()) rows.resize(needed);
    for (std::size_t i = 0; i < count; ++i) {
      Entries& entries = rows[at[i]];
      // Many columns take most of the memory that there is: not twice as much is asked for as is needed.
      if (entries.size() == entries.capacity()) entries.reserve(entries.size() + entries.size() / 8 + 8);
      const auto found = entries.empty() || entries.back().first < column ? entries.end() : place(entries, column);
      if (found != entries.end() && found->first == column) {
        found->second = weights[i];
      } else {
        entries.insert(found, {column, weights[i]});
      }
    }
    end = std::max(end, column + 1);
  }

 private:
  static Entries::iterator place(Entries& entries, std::int32_t column) {
    return std::lower_bound(entries.begin(), entries.end(), column,
                            [](const auto& entry, std::int32_t of) { return entry.first < of; });
  }
};

// What items were given after the generation was made: shared by all that score, and changed between their calls.
struct PYBIND11_EXPORT Growth {
  AddedEntries together, follows, attributes;
  std::unordered_map<std::int64_t, std::vector<std::int32_t>> categories;
  std::size_t category_count = 0;
};

}  // namespace tanager

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

using Position = std::int64_t;
using Positions = std::vector<Position>;

inline float dot(const float* a, const float* b, std::size_t dim) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::size_t d = 0; d < dim; ++d) sum += a[d] * b[d];
  return sum;
}

// products[i] = <rows[positions[i]], direction>. The rows lie anywhere in memory: the next ones are asked for ahead.
FOR_EACH_PROCESSOR
inline void multiply(const float* rows, const Positions& positions, const float* direction, std::size_t dim,
                     float* products) {
  constexpr std::size_t kAhead = 4, kLine = 16;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (i + kAhead < positions.size()) {
      const float* next = rows + positions[i + kAhead] * dim;
      for (std::size_t d = 0; d < dim; d += kLine) __builtin_prefetch(next + d);
    }
    const float* row = rows + positions[i] * dim;
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (std::size_t d = 0; d < dim; ++d) sum += row[d] * direction[d];
    products[i] = sum;
  }
}

// An argument as the array that it is: one of another type or layout is refused, not copied.
template <typename T>
Array<T> take(const py::handle& value, py::ssize_t dimensions, const char* name) {
  if (!py::isinstance<Array<T>>(value)) throw py::type_error(std::string(name) + ": an array of another type");
  auto array = py::reinterpret_borrow<Array<T>>(value);
  if (array.ndim() != dimensions) throw py::value_error(std::string(name) + ": an array of another shape");
  return array;
}

// A sparse matrix: a view of arrays that somebody else keeps, and what was added to it.
struct Rows {
  const std::int64_t* indptr;
  const std::int32_t* indices;
  const float* weights;
  std::size_t rows;
  const tanager::AddedEntries* added;

  // Calls `visit(column, weight)` for each entry of a row.
  template <typename Visit>
  void each(Position row, Visit&& visit) const {
    if (static_cast<std::size_t>(row) < rows) {
      for (std::int64_t entry = indptr[row]; entry < indptr[row + 1]; ++entry) visit(indices[entry], weights[entry]);
    }
    if (added == nullptr || static_cast<std::size_t>(row) >= added->rows.size()) return;
    for (const auto& [column, weight] : added->rows[row]) visit(column, weight);
  }

  // From a tuple of indptr, indices and weights, with every index below `columns`.
  Rows(const py::handle& value, std::size_t columns, const char* name, const tanager::AddedEntries* more = nullptr)
      : added(more) {
    const auto arrays = value.cast<py::tuple>();
    if (arrays.size() != 3) throw py::value_error(std::string(name) + ": indptr, indices and weights");
    const auto starts = take<std::int64_t>(arrays[0], 1, name);
    const auto entries = take<std::int32_t>(arrays[1], 1, name);
    const auto values = take<float>(arrays[2], 1, name);
    indptr = starts.data(), indices = entries.data(), weights = values.data();
    const auto count = static_cast<std::int64_t>(entries.size());
    bool fits = starts.size() > 0 && values.size() == entries.size();
    rows = fits ? static_cast<std::size_t>(starts.size() - 1) : 0;
    fits = fits && indptr[0] == 0 && indptr[rows] == count;
    for (std::size_t i = 0; fits && i < rows; ++i) fits = indptr[i] <= indptr[i + 1] && indptr[i + 1] <= count;
    for (std::int64_t i = 0; fits && i < count; ++i) {
      fits = indices[i] >= 0 && static_cast<std::size_t>(indices[i]) < columns;
    }
    if (!fits) throw py::value_error(std::string(name) + ": the arrays do not fit one another");
  }
};

// What scores are made of, as the generation has it; views of arrays that somebody else keeps. The arrays have a row
// for each item, and some to spare for items to come; what items are given beyond them lies in the growth.
struct Tables {
  explicit Tables(const py::kwargs& settings)
      : owner_(settings),
        growth_(settings["growth"].cast<tanager::Growth*>()),
        vectors_array_(take<float>(settings["vectors"], 2, "vectors")),
        items_(static_cast<std::size_t>(vectors_array_.shape(0))),
        dim_(static_cast<std::size_t>(vectors_array_.shape(1))),
        vectors_(vectors_array_.data()),
        sequence_array_(take<float>(settings["sequence_vectors"], 2, "sequence_vectors")),
        sequence_dim_(static_cast<std::size_t>(sequence_array_.shape(1))),
        sequence_vectors_(sequence_array_.data()),
        together_(settings["neighbours"], items_, "neighbours", &growth_->together),
        follows_(settings["transitions"], items_, "transitions", &growth_->follows),
        attributes_(settings["attributes"], items_, "attributes", &growth_->attributes) {
    const auto priors = take<float>(settings["priors"], 2, "priors");
    const auto items = static_cast<py::ssize_t>(items_);
    if (together_.rows > items_ || follows_.rows > items_ || priors.shape(0) != 2 || priors.shape(1) != items ||
        sequence_array_.shape(0) != items) {
      throw py::value_error("the arrays do not fit one another");
    }
    prior_ = priors.data(), prior_known_ = prior_ + items_;
  }

  py::object owner_;
  const tanager::Growth* growth_;
  Array<float> vectors_array_;
  std::size_t items_, dim_;
  const float* vectors_;
  Array<float> sequence_array_;
  std::size_t sequence_dim_;
  const float* sequence_vectors_;
  Rows together_, follows_, attributes_;
  const float *prior_, *prior_known_;
};

// Weights of events by recency, oldest first: an event counts half after `half_life` later ones.
inline std::vector<float> decayed(const std::vector<float>& weights, double half_life) {
  std::vector<float> result(weights.size());
  for (std::size_t h = 0; h < weights.size(); ++h) {
    result[h] = static_cast<float>(weights[h] * std::exp2(-static_cast<double>(weights.size() - 1 - h) / half_life));
  }
  return result;
}

}  // namespace
