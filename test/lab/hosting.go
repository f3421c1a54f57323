package lab

import "context"

// setUpHosting gives the host cluster the services that hosted control planes need, and the machines where to pull
// from.
func (l *Lab) setUpHosting(ctx context.Context, options UpOptions) error {
	if err := l.ensureBalancer(ctx); err != nil {
		return err
	}
	if err := l.ensureDaemon(ctx, registryDaemon, RegistryAddress); err != nil {
		return err
	}
	if err := l.ensureDaemon(ctx, resolverDaemon, ""); err != nil {
		return err
	}
	images, err := l.hostedImages(ctx, Version, options)
	if err != nil {
		return err
	}
	if err := l.provideImages(ctx, Version, images); err != nil {
		return err
	}
	if err := l.ensureDNS(ctx); err != nil {
		return err
	}
	return l.ensureStorage(ctx)
}
