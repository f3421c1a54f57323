package config

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	defaultSSHPort          = 22
	defaultBundleRepository = "https://github.com/loft-sh/kubernetes/releases/download"
)

// Defaults returns the values of keys that the documents leave out. Defaults are written down nowhere else. Those that
// depend on other keys are not in it: a machine's nodeName is its name, bundles.repository is
// privateNodes.autoUpgrade.bundleRepository unless bundles come from the control plane, a bastion's user and Secret are
// its machine's.
func Defaults() Cluster {
	return Cluster{VCluster: defaultVCluster(), Fleet: defaultFleet()}
}

func defaultFleet() Fleet {
	no := false
	return Fleet{
		SSH: SSH{
			User: "root", Port: defaultSSHPort, TrustOnFirstUse: &no,
			ConnectTimeout: seconds(10), KeepAlive: seconds(10),
		},
		ControlPlane: HostedControlPlane{
			Timeout:    seconds(10 * 60),
			Encryption: Encryption{KeyName: "key1", Resources: []string{"secrets"}},
		},
		Bundles: Bundles{Delivery: DeliveryAuto, Format: "tar.gz"},
		Join: JoinPolicy{
			MinDisk: "2Gi", MinMemory: "900Mi", MaxClockSkew: seconds(30),
			CommandTimeout: seconds(5 * 60),
		},
		Drain: Drain{Timeout: seconds(5 * 60), DeleteEmptyDirData: true, GracePeriod: -1},
		Upgrade: Upgrade{
			FailureBudget: "0", Approval: ApproveNever, Drain: true, OnDrainTimeout: DrainStop, Rollback: true,
			MinReady: seconds(10), ControlPlaneGrace: seconds(2 * 60), NodeGrace: seconds(2 * 60),
		},
		Flannel: FlannelNetwork{Backend: FlannelVXLAN},
		Limits: Limits{
			Concurrency: 5, MachineTimeout: seconds(20 * 60), ReadyTimeout: seconds(5 * 60),
			RetryBudget: seconds(5 * 60),
		},
	}
}

func seconds(n int) metav1.Duration { return metav1.Duration{Duration: time.Duration(n) * time.Second} }

func defaultVCluster() VCluster {
	return VCluster{
		PrivateNodes: PrivateNodes{
			ImportNodeBinaries: true,
			AutoUpgrade: AutoUpgrade{
				Enabled: true, Concurrency: "1", BundleRepository: defaultBundleRepository,
				BinariesPath: "/usr/local/bin", CNIBinariesPath: "/opt/cni/bin",
			},
			JoinNode: JoinNode{
				Containerd: Containerd{Enabled: true},
				CACertPath: "/etc/kubernetes/pki/ca.crt",
			},
		},
		ControlPlane: defaultControlPlane(),
		Networking: Networking{
			PodCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/12",
			Advanced: NetworkingAdvanced{ClusterDomain: "cluster.local"},
		},
		Deploy: Deploy{
			CNI:                  CNI{Flannel: Flannel{Enabled: true}},
			KubeProxy:            KubeProxy{Enabled: true},
			LocalPathProvisioner: LocalPathProvisioner{Enabled: true},
			MetalLB:              MetalLB{IPAddressPool: IPAddressPool{L2Advertisement: true}},
			IngressNginx:         IngressNginx{DefaultIngressClass: true},
			CSI: CSI{KubeVirt: KubeVirtCSI{StorageClass: KubeVirtStorageClass{
				Enabled: true, Name: "kubevirt", Default: true, Bus: "scsi",
			}}},
		},
	}
}

func defaultControlPlane() ControlPlane {
	return ControlPlane{
		Distro: Distro{K8s: K8s{
			Enabled:   true,
			Image:     Image{Registry: "ghcr.io", Repository: "loft-sh/kubernetes"},
			APIServer: Component{Enabled: true}, ControllerManager: Component{Enabled: true},
			Scheduler: Component{Enabled: true},
		}},
		BackingStore: BackingStore{Etcd: Etcds{Deploy: defaultEtcd()}},
		Proxy:        Proxy{BindAddress: "0.0.0.0", Port: 6443},
		Service:      Service{Enabled: true},
		StatefulSet: StatefulSet{
			HighAvailability: HighAvailability{Replicas: 1, LeaseDuration: 60, RenewDeadline: 40, RetryPeriod: 15},
			Scheduling:       Scheduling{PodManagementPolicy: "Parallel"},
			Persistence:      Persistence{VolumeClaim: defaultVolumeClaim("auto")},
			Probes: Probes{
				LivenessProbe: Probe{Enabled: true}, ReadinessProbe: Probe{Enabled: true},
				StartupProbe: Probe{Enabled: true},
			},
		},
		CoreDNS: CoreDNS{Enabled: true, Deployment: CoreDNSDeployment{Replicas: 1}},
		Advanced: ControlPlaneAdvanced{
			VirtualScheduler: VirtualScheduler{Enabled: true},
			Konnectivity: Konnectivity{
				Enabled: true, Server: KonnectivityServer{Enabled: true},
				Agent: KonnectivityAgent{Enabled: true, Replicas: 1},
			},
			CloudControllerManager: CloudControllerManager{Enabled: true},
			ServiceAccount:         ServiceAccount{Enabled: true},
			Registry:               EmbeddedRegistry{AnonymousPull: true},
		},
	}
}

func defaultEtcd() DeployedEtcd {
	return DeployedEtcd{
		StatefulSet: EtcdStatefulSet{
			Enabled:          true,
			HighAvailability: EtcdHighAvailability{Replicas: 1},
			Scheduling:       Scheduling{PodManagementPolicy: "Parallel"},
			Persistence:      Persistence{VolumeClaim: defaultVolumeClaim(true)},
		},
		Service: EtcdService{Enabled: true},
	}
}

func defaultVolumeClaim(enabled any) VolumeClaim {
	return VolumeClaim{Enabled: enabled, Size: "5Gi", RetentionPolicy: "Retain", AccessModes: []string{"ReadWriteOnce"}}
}
