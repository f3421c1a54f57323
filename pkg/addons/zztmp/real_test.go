package zztmp
import ("testing";"fmt";"time";"os"
"k8s.io/client-go/tools/clientcmd";"k8s.io/client-go/rest";"k8s.io/apimachinery/pkg/types";"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
"argosy.dev/argosy/pkg/config";"argosy.dev/argosy/pkg/addons";"argosy.dev/argosy/pkg/apply";"argosy.dev/argosy/pkg/fault")
func conf(t *testing.T, ctx string)*rest.Config{ c,err:=clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath:os.Getenv("KC")},&clientcmd.ConfigOverrides{CurrentContext:ctx}).ClientConfig(); if err!=nil{t.Fatal(err)}; return c}
func objs(t *testing.T, on bool)[]*unstructured.Unstructured{ c:=config.Defaults(); c.Name="t"; x:=&c; if on{x=addons.WithAll(&c); x.VCluster.Deploy.MetalLB.IPAddressPool.Addresses=[]string{"192.0.2.0/28"}}
 a,err:=addons.Wanted(x,addons.Facts{Version:"v1.34.4",Server:"https://1.2.3.4:6443",CACert:"x",KonnectivityHost:"1.2.3.4",KonnectivityPort:8132}); if err!=nil{t.Fatal(err)}
 var o []*unstructured.Unstructured; for _,y:=range a{o=append(o,y.Objects...)}; return o}
func TestReal(t *testing.T){
 s,_:=apply.New(conf(t,"a")); inv:=types.NamespacedName{Namespace:"kube-system",Name:"argosy-addons"}
 run:=func(what string,on bool){ st:=time.Now(); ch,err:=s.Sync(t.Context(),inv,objs(t,on),apply.Options{}); fmt.Printf("%s: %d objects %v\n  %s\n  err=%v class=%v\n",what,len(objs(t,on)),time.Since(st),apply.Summary(ch),err,fault.ClassOf(err)) }
 run("first",true); run("second",true)
 s,_=apply.New(conf(t,"a")); run("third, new client",true)
 run("off",false); run("off2",false); run("on again",true)
}
func TestWeak(t *testing.T){ s,_:=apply.New(conf(t,"w")); ch,err:=s.Set(t.Context(),objs(t,false),apply.Options{}); fmt.Println(apply.Summary(ch),err,fault.ClassOf(err)) }
func TestSet(t *testing.T){ s,_:=apply.New(conf(t,"a")); ch,err:=s.Set(t.Context(),objs(t,true),apply.Options{}); fmt.Println(apply.Summary(ch),err) }
func TestDefaults(t *testing.T){ s,_:=apply.New(conf(t,"a")); for range 2 { ch,err:=s.Set(t.Context(),objs(t,false),apply.Options{}); fmt.Println(apply.Summary(ch),err)}
 ch,err:=s.Set(t.Context(),objs(t,false),apply.Options{Force:true}); fmt.Println("force",apply.Summary(ch),err) }
