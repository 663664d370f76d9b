# SPDX-License-Identifier: Apache-2.0
"""Launch files, configuration and shipped models; see `launch/`, `config/` and `models/`."""
