// What items are given after the generation was made; see engine/live.py.

#include "../engine/_native.h"

namespace {

using Column = void (*)(tanager::Growth&, std::int32_t, const std::vector<std::int64_t>&, const std::vector<float>&);

template <tanager::AddedEntries tanager::Growth::* matrix>
void set_column(tanager::Growth& growth, std::int32_t item, const std::vector<std::int64_t>& rows,
                const std::vector<float>& weights) {
  (growth.*matrix).set_column(item, rows, weights);
}

}  // namespace

PYBIND11_MODULE(_growth, module) {
  module.doc() = "What items are given after the generation was made.";
  py::class_<tanager::Growth>(module, "Growth")
      .def(py::init<>())
      .def("set_neighbours", static_cast<Column>(&set_column<&tanager::Growth::together>), py::arg("item"),
           py::arg("rows"), py::arg("weights"))
      .def("set_transitions", static_cast<Column>(&set_column<&tanager::Growth::follows>), py::arg("item"),
           py::arg("rows"), py::arg("weights"))
      .def("set_attributes", static_cast<Column>(&set_column<&tanager::Growth::attributes>), py::arg("item"),
           py::arg("rows"), py::arg("weights"))
      .def(
          "set_categories",
          [](tanager::Growth& growth, std::int64_t item, std::vector<std::int32_t> numbers) {
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
