package main

import (
	"encoding/json"
	"os"
	"testing"

	"gotest.tools/v3/assert"
)

func TestThePictureInTheDocsShowsTheMeasurements(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/images/scale.json")
	assert.NilError(t, err)
	var measured measurements
	assert.NilError(t, json.Unmarshal(text, &measured))
	assert.Assert(t, len(measured.Samples) > 100, "%d samples", len(measured.Samples))
	picture, err := os.ReadFile("../../../../docs/images/scale.svg")
	assert.NilError(t, err)
	assert.Equal(t, string(picture), draw(measured))
}

func TestAnAxisEndsAtARoundNumber(t *testing.T) {
	for value, end := range map[float64]float64{0: 1, 1: 1, 7: 8, 50: 50, 1048: 1500, 999: 1000} {
		assert.Equal(t, round(value), end, "%g", value)
	}
}
