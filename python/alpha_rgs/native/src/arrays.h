/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

// What bindings take out of dictionaries.

#ifndef INCLUDED_ALPHA_RGS_ARRAYS_H
#define INCLUDED_ALPHA_RGS_ARRAYS_H

#include <pybind11/complex.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <complex>
#include <stdexcept>
#include <string>
#include <vector>

namespace alpha_rgs {

using Complex = std::complex<float>;
template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

// An array of a dictionary, of that type and length; kept alive in `held`.
template <class T>
inline const T* array(const pybind11::dict& from,
                      const char* name,
                      size_t length,
                      std::vector<pybind11::object>& held)
{
    if (!from.contains(name) || !Array<T>::check_(from[name]))
        throw std::invalid_argument(std::string(name) +
                                    ": must be a contiguous array of its type");
    Array<T> value = pybind11::reinterpret_borrow<Array<T>>(from[name]);
    if ((size_t)value.size() != length)
        throw std::invalid_argument(std::string(name) + ": holds " +
                                    std::to_string(value.size()) + " values, not " +
                                    std::to_string(length));
    held.push_back(value);
    return value.data();
}

inline const float* complexes(const pybind11::dict& from,
                              const char* name,
                              size_t n,
                              std::vector<pybind11::object>& held)
{
    return (const float*)array<Complex>(from, name, n, held);
}

template <class T>
inline T number(const pybind11::dict& from, const char* name)
{
    return pybind11::cast<T>(from[name]);
}

} // namespace alpha_rgs

#endif
