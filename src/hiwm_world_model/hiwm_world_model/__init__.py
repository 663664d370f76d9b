# SPDX-License-Identifier: Apache-2.0
"""The learned world model: a structured latent scene, its dynamics, and its picture."""
