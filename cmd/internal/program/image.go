package program

import "os"

// ImageVariable is the environment variable with the plugin's image; install/plugin sets it to the sidecar's.
const ImageVariable = "ARGOSY_IMAGE"

// DefaultImage is the image in the plugin's own manifest.
const DefaultImage = "ghcr.io/argosy-dev/executor-plugin:v0.1.0"

// Image returns the plugin's image, which control planes run their bundle server from.
func Image() string {
	if image := os.Getenv(ImageVariable); image != "" {
		return image
	}
	return DefaultImage
}
