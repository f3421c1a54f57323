package controlplane

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/encryption"
)

// certFile finds the files with certificates, keys and kubeconfigs that a command line names.
var certFile = regexp.MustCompile(regexp.QuoteMeta(certsDir) + `/([0-9A-Za-z.-]+)`)

// mountCerts mounts into each container those files of certsDir that its own command line names, and no others: an
// attacker in one component then has only that component's keys, and the authority's key is the controller manager's
// alone. secretOf returns the name of the Secret with a file.
func mountCerts(pod *corev1.PodSpec, secretOf func(file string) string) {
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			files := certFiles(containers[i])
			if len(files) == 0 {
				continue
			}
			name := volumeCerts + "-" + containers[i].Name
			pod.Volumes = append(pod.Volumes, corev1.Volume{
				Name: name,
				VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
					DefaultMode: readableByGroup(), Sources: projections(files, secretOf),
				}},
			})
			containers[i].VolumeMounts = append(containers[i].VolumeMounts,
				corev1.VolumeMount{Name: name, MountPath: certsDir, ReadOnly: true})
		}
	}
}

// certFiles returns the names of the files in certsDir that a container's command line has, sorted.
func certFiles(container corev1.Container) []string {
	var files []string
	for _, match := range certFile.FindAllStringSubmatch(strings.Join(append(slices.Clone(container.Command),
		container.Args...), "\n"), -1) {
		files = append(files, match[1])
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// projections returns a projection for each Secret that holds some of the files.
func projections(files []string, secretOf func(file string) string) []corev1.VolumeProjection {
	bySecret := map[string][]string{}
	var secrets []string
	for _, file := range files {
		secret := secretOf(file)
		if bySecret[secret] == nil {
			secrets = append(secrets, secret)
		}
		bySecret[secret] = append(bySecret[secret], file)
	}
	var sources []corev1.VolumeProjection
	for _, secret := range secrets {
		sources = append(sources, secretFiles(secret, bySecret[secret]...))
	}
	return sources
}

// certsSecret returns the name of the Secret with a file of the control plane's pods. Of the authorities' keys, only
// that of the cluster's own is in any pod.
func (p *Provisioner) certsSecret(file string) string {
	switch file {
	case certificates.ClusterCA + certificates.CertExtension, certificates.ClusterCA + certificates.KeyExtension,
		certificates.FrontProxyCA + certificates.CertExtension, certificates.EtcdCA + certificates.CertExtension,
		certificates.SigningKey + certificates.KeyExtension, certificates.SigningKey + certificates.PublicExtension,
		encryption.File:
		return p.Names().PKI()
	}
	return p.Names().Certs()
}
