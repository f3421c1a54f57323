package machine

// KeepBundlesIn moves where bundles go, so that tests leave the computer they run on alone.
func (m *Machine) KeepBundlesIn(dir string) { m.bundlesDir = dir }
