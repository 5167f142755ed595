// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

[assembly: AssemblyTitle("YoloQ Inspection")]
[assembly: AssemblyDescription("Sample host: a visual inspection station on quantised YOLO detectors")]
[assembly: AssemblyProduct("yoloq")]
[assembly: AssemblyCopyright("Apache-2.0")]
[assembly: AssemblyVersion("0.1.0.0")]
[assembly: AssemblyFileVersion("0.1.0.0")]
[assembly: ComVisible(false)]
#if !NET472
[assembly: TargetFramework(".NETFramework,Version=v4.6.2")]
#endif
