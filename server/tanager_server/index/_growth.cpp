// What items are given after the generation was made; see engine/items.py.

#include <functional>
#include <limits>

#include "../engine/_native.h"

namespace {

using tanager::AddedEntries, tanager::Growth;
template <typename T>
using Values = py::array_t<T, py::array::c_style | py::array::forcecast>;

constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();

// The same as `set_column` for columns behind all that there are, of which the n-th lies at start[n] : start[n + 1]:
// row by row, as memory lies.
void append_columns(AddedEntries& entries, const std::int64_t* items, std::size_t count, const std::int64_t* start,
                    const std::int32_t* rows, const float* weights) {
  std::vector<std::int64_t> next(start, start + count);
  std::int32_t end = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (start[i] < start[i + 1]) end = std::max(end, rows[start[i + 1] - 1] + 1);
  }
  if (entries.rows.size() < static_cast<std::size_t>(end)) entries.rows.resize(static_cast<std::size_t>(end));
  for (std::int32_t row = 0; row < end; ++row) {
    AddedEntries::Entries& of_row = entries.rows[static_cast<std::size_t>(row)];
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t at = next[i];
      if (at == start[i + 1] || rows[at] != row) continue;
      if (of_row.size() == of_row.capacity()) of_row.reserve(of_row.size() + of_row.size() / 8 + count);
      of_row.emplace_back(static_cast<std::int32_t>(items[i]), weights[at]);
      ++next[i];
    }
  }
  if (count > 0) entries.end = static_cast<std::int32_t>(items[count - 1]) + 1;
}

// Gives items columns, the n-th of which lies at starts[n] : starts[n + 1].
template <AddedEntries Growth::* matrix>
void set_columns(Growth& growth, const Values<std::int64_t>& items, const Values<std::int64_t>& starts,
                 const Values<std::int32_t>& rows, const Values<float>& weights) {
  const std::int64_t *item = items.data(), *start = starts.data();
  const std::int32_t* row = rows.data();
  bool fits = items.ndim() == 1 && starts.ndim() == 1 && rows.ndim() == 1 && weights.ndim() == 1 &&
              starts.size() == items.size() + 1 && rows.size() == weights.size() && start[0] == 0 &&
              start[items.size()] == rows.size();
  for (py::ssize_t i = 0; fits && i < items.size(); ++i) {
    fits = start[i] <= start[i + 1] && start[i + 1] <= rows.size() && item[i] >= 0 && item[i] < kMost;
    for (std::int64_t entry = start[i]; fits && entry < start[i + 1]; ++entry) {
      fits = row[entry] >= 0 && row[entry] < kMost && (entry == start[i] || row[entry - 1] < row[entry]);
    }
  }
  if (!fits) throw py::value_error("columns: for each item rows that ascend, and a weight for each");
  AddedEntries& entries = growth.*matrix;
  const std::int64_t* end = item + items.size();
  // As when a state is read.
  if (items.size() > 1 && item[0] >= entries.end && std::adjacent_find(item, end, std::greater_equal<>()) == end) {
    append_columns(entries, item, static_cast<std::size_t>(items.size()), start, row, weights.data());
    return;
  }
  for (py::ssize_t i = 0; i < items.size(); ++i) {
    entries.set_column(static_cast<std::int32_t>(item[i]), row + start[i], weights.data() + start[i],
                       static_cast<std::size_t>(start[i + 1] - start[i]));
  }
}

template <AddedEntries Growth::* matrix>
void set_column(Growth& growth, std::int64_t item, const Values<std::int32_t>& rows, const Values<float>& weights) {
  const std::int64_t starts[] = {0, rows.size()};
  set_columns<matrix>(growth, Values<std::int64_t>(1, &item), Values<std::int64_t>(2, starts), rows, weights);
}

template <AddedEntries Growth::* matrix>
void define(py::class_<Growth>& growth, const char* of_one, const char* of_many) {
  growth.def(of_one, &set_column<matrix>, py::arg("item"), py::arg("rows"), py::arg("weights"));
  growth.def(of_many, &set_columns<matrix>, py::arg("items"), py::arg("starts"), py::arg("rows"), py::arg("weights"));
}

}  // namespace

PYBIND11_MODULE(_growth, module) {
  module.doc() = "What items are given after the generation was made.";
  py::class_<Growth> growth(module, "Growth");
  define<&Growth::together>(growth, "set_neighbours", "set_neighbours_of");
  define<&Growth::follows>(growth, "set_transitions", "set_transitions_of");
  define<&Growth::attributes>(growth, "set_attributes", "set_attributes_of");
  growth.def(py::init<>())
      .def(
          "set_categories",
          [](Growth& growth, std::int64_t item, std::vector<std::int32_t> numbers) {
            for (const std::int32_t number : numbers) {
              if (number < 0) throw py::index_error("no such category");
              growth.category_count = std::max(growth.category_count, static_cast<std::size_t>(number) + 1);
            }
            std::sort(numbers.begin(), numbers.end());
            numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
            growth.categories[item] = std::move(numbers);
          },
          py::arg("item"), py::arg("numbers"));
}
