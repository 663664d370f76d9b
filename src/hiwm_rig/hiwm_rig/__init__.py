# SPDX-License-Identifier: Apache-2.0
"""The rig contract as code: messages, node plumbing, and a rig node around any backend."""
