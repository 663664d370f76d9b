# SPDX-License-Identifier: Apache-2.0
"""One folder for each task, holding `task.yaml`; `hiwm_core.task` reads them."""
