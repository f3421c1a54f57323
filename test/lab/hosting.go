package lab

import "context"

// raiseHosting gives the host cluster what hosted control planes want of it, and
// the machines where to pull from.
func (l *Lab) raiseHosting(ctx context.Context) error {
	if err := l.ensureBalancer(ctx); err != nil {
		return err
	}
	if err := l.ensureDaemon(ctx, registryDaemon, RegistryAddress); err != nil {
		return err
	}
	if _, err := l.ControlPlaneImage(ctx, Version); err != nil {
		return err
	}
	if err := l.ensureDNS(ctx); err != nil {
		return err
	}
	return l.ensureStorage(ctx)
}
