// SPDX-License-Identifier: Apache-2.0
// Check boxes that this browser remembers.

import { backToPicture } from './focus.js';

// `apply(on)` is called now and on every change.
export function remember(id, apply) {
  const box = document.getElementById(id);
  const stored = localStorage.getItem(id);
  if (stored !== null) box.checked = stored === 'true';
  const use = () => {
    localStorage.setItem(id, String(box.checked));
    apply?.(box.checked);
  };
  box.addEventListener('change', use);
  // The label gives its box the focus only after its own click.
  box.closest('label').addEventListener('click', (event) => setTimeout(() => backToPicture(event)));
  use();
}
