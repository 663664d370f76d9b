# SPDX-License-Identifier: Apache-2.0
"""Robot policies: network, training, evaluation, and the node that lets them drive."""
