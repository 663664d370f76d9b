// SPDX-License-Identifier: Apache-2.0
// Where the focus goes: after a click back to the picture, so that the space bar pauses and does not click again;
// whoever walks by Tab keeps the place.

export function toPicture() {
  document.getElementById('frame').focus({ preventScroll: true });
}

// For the event of a click; keys click as well, but have no number of clicks.
export function backToPicture(event) {
  if (event.detail > 0) toPicture();
}
