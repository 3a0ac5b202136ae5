/* -*- c++ -*- */
/*
 * Copyright 2026 gr-scoresep developers
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef INCLUDED_SCORESEP_API_H
#define INCLUDED_SCORESEP_API_H

#include <gnuradio/attributes.h>

#ifdef gnuradio_scoresep_EXPORTS
#define SCORESEP_API __GR_ATTR_EXPORT
#else
#define SCORESEP_API __GR_ATTR_IMPORT
#endif

#endif /* INCLUDED_SCORESEP_API_H */
